package k8stest

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestEveryObjectIsInTheRestrictedNamespace(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		namespace := find[*corev1.Namespace](o, "closeloop")
		if namespace == nil || namespace.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
			t.Fatal("the namespace is not there, or not restricted")
		}
		for _, object := range o.objects {
			if object != metav1.Object(namespace) && object.GetNamespace() != namespace.Name {
				t.Errorf("%T %s is in %q", object, object.GetName(), object.GetNamespace())
			}
		}
	})
}

func TestNoContainerMayMoreThanItNeeds(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		for _, w := range o.workloads() {
			name := w.kind + " " + w.name
			if no := w.pod.AutomountServiceAccountToken; no == nil || *no {
				t.Errorf("%s has a token for the Kubernetes API", name)
			}
			if s := w.pod.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser < 10_000 ||
				s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s may be root, or call what it likes of the kernel", name)
			}
			if w.pod.HostNetwork || w.pod.HostPID || w.pod.HostIPC {
				t.Errorf("%s shares something with its host", name)
			}
			for _, volume := range w.pod.Volumes {
				if volume.HostPath != nil {
					t.Errorf("%s mounts its host's %s", name, volume.HostPath.Path)
				}
			}
			if len(w.pod.Containers) != 1 || len(w.pod.InitContainers) != 0 {
				t.Errorf("%s has %d containers: the common parts are for the first", name, len(w.pod.Containers))
			}
			for _, c := range w.pod.Containers {
				container(t, name, c)
			}
		}
	})
}

func container(t *testing.T, name string, c corev1.Container) {
	t.Helper()
	s := c.SecurityContext
	if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.Capabilities == nil || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) != 0 || s.Privileged != nil {
		t.Errorf("%s: container %s may write to its root, gain rights or keeps capabilities", name, c.Name)
	}
	for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, asked := c.Resources.Requests[resource]
		limit, limited := c.Resources.Limits[resource]
		if !asked || !limited || request.Cmp(limit) > 0 {
			t.Errorf("%s: container %s asks for %s of %s, limit %s", name, c.Name, request.String(), resource, limit.String())
		}
	}
	if _, tag, tagged := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":"); !tagged || tag == "latest" {
		t.Errorf("%s: image %s has no version", name, c.Image)
	}
}

func TestEveryServerIsAskedWhetherItLives(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		for _, w := range o.workloads() {
			if w.kind == "Job" {
				continue
			}
			c := w.pod.Containers[0]
			for what, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
				if probe == nil || probe.HTTPGet == nil || port(c, probe.HTTPGet.Port.String()) == 0 {
					t.Errorf("%s %s: no %s probe, or of no port of its", w.kind, w.name, what)
				}
			}
		}
	})
}

// port gives the number of a container's port by name.
func port(c corev1.Container, name string) int32 {
	for _, p := range c.Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}

// doorGrace is how long a door takes after consumers are drained (pkg/service).
const doorGrace = 5 * time.Second

func TestEveryServiceComesAndGoesWithoutAGap(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		deployments := of[*appsv1.Deployment](o)
		if len(deployments) < 7 {
			t.Fatalf("%d Deployments", len(deployments))
		}
		for _, d := range deployments {
			update, pod := d.Spec.Strategy.RollingUpdate, d.Spec.Template.Spec
			if update == nil || update.MaxUnavailable == nil || update.MaxUnavailable.IntValue() != 0 || update.MaxSurge.IntValue() < 1 {
				t.Errorf("%s: an update takes pods away before there are new ones", d.Name)
			}
			c := pod.Containers[0]
			if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil {
				t.Errorf("%s: nothing lets requests go elsewhere before it stops", d.Name)
				continue
			}
			drain, err := time.ParseDuration(variable(c, "DRAIN_TIMEOUT"))
			needs := drain + doorGrace + time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second
			if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; err != nil || grace <= needs {
				t.Errorf("%s has %s to stop and needs %s, %v", d.Name, grace, needs, err)
			}
			if len(pod.TopologySpreadConstraints) < 2 {
				t.Errorf("%s: its replicas may be all in one place", d.Name)
			}
			for _, s := range pod.TopologySpreadConstraints {
				if !selects(t, s.LabelSelector, d.Spec.Template.Labels) || s.LabelSelector.MatchLabels["app.kubernetes.io/name"] != d.Name {
					t.Errorf("%s is spread apart from others than itself", d.Name)
				}
			}
		}
	})
}

func variable(c corev1.Container, name string) string {
	for _, v := range c.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

func selects(t *testing.T, s *metav1.LabelSelector, on map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(on))
}

func TestEveryServiceHasItsOwnOfEverything(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		for _, d := range of[*appsv1.Deployment](o) {
			on := d.Spec.Template.Labels
			if !selects(t, d.Spec.Selector, on) {
				t.Errorf("%s does not select its own pods", d.Name)
			}
			if account := find[*corev1.ServiceAccount](o, d.Name); account == nil || *account.AutomountServiceAccountToken || d.Spec.Template.Spec.ServiceAccountName != d.Name {
				t.Errorf("%s has no ServiceAccount of its own, or one with a token", d.Name)
			}
			if budget := find[*policyv1.PodDisruptionBudget](o, d.Name); budget == nil || !selects(t, budget.Spec.Selector, on) {
				t.Errorf("%s has no PodDisruptionBudget", d.Name)
			}
			if policy := find[*networkingv1.NetworkPolicy](o, d.Name); policy == nil || !selects(t, &policy.Spec.PodSelector, on) {
				t.Errorf("%s has no NetworkPolicy", d.Name)
			}
			for _, other := range of[*appsv1.Deployment](o) {
				if other != d && selects(t, d.Spec.Selector, other.Spec.Template.Labels) {
					t.Errorf("%s selects the pods of %s", d.Name, other.Name)
				}
			}
		}
		for _, s := range of[*corev1.Service](o) {
			behind := 0
			for _, w := range o.workloads() {
				if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.labels)) {
					continue
				}
				behind++
				for _, p := range s.Spec.Ports {
					if port(w.pod.Containers[0], p.TargetPort.String()) == 0 {
						t.Errorf("Service %s leads to %s, a port that %s does not have", s.Name, p.TargetPort.String(), w.name)
					}
				}
			}
			if behind != 1 {
				t.Errorf("behind Service %s are %d", s.Name, behind)
			}
		}
	})
}

func TestTheTopologyJobMayRunAgain(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		jobs := of[*batchv1.Job](o)
		if len(jobs) != 1 {
			t.Fatalf("%d jobs", len(jobs))
		}
		job := jobs[0]
		image := job.Spec.Template.Spec.Containers[0].Image
		if version := image[strings.LastIndex(image, ":")+1:]; job.Name != "topology-"+version {
			t.Errorf("the job that runs %s is called %s: that of another version would be refused", image, job.Name)
		}
		if job.Spec.TTLSecondsAfterFinished == nil {
			t.Error("the job stays when it is done, and the same version cannot run again")
		}
		// What a wave needs must not be in a later one: Argo CD would wait for the job, and the job for its Secret.
		for _, object := range o.objects {
			if wave, ordered := object.GetAnnotations()["argocd.argoproj.io/sync-wave"]; ordered {
				t.Errorf("%T %s is in wave %s of Argo CD", object, object.GetName(), wave)
			}
		}
	})
}

func TestProductionIsReal(t *testing.T) {
	for _, o := range render(t) {
		if o.name != "production" {
			continue
		}
		if secrets := of[*corev1.Secret](o); len(secrets) != 0 {
			t.Errorf("%d Secrets are written down", len(secrets))
		}
		for _, w := range o.workloads() {
			c := w.pod.Containers[0]
			if strings.Contains(c.Image, "landscape") || w.kind == "StatefulSet" {
				t.Errorf("%s %s is simulated, or keeps files", w.kind, w.name)
			}
			if !strings.HasPrefix(variable(c, "NATS_URL"), "tls://") || variable(c, "NATS_CA_FILE") == "" {
				t.Errorf("%s talks to NATS without TLS", w.name)
			}
		}
		for _, d := range of[*appsv1.Deployment](o) {
			replicas := int32(1)
			if d.Spec.Replicas != nil {
				replicas = *d.Spec.Replicas
			}
			scaled := find[*scaledObject](o, d.Name)
			if scaled != nil {
				if d.Spec.Replicas != nil {
					t.Errorf("%s is scaled by two: each apply would undo what KEDA did", d.Name)
				}
				replicas = scaled.Spec.MinReplicaCount
			}
			if replicas < 2 {
				t.Errorf("%s has %d replicas", d.Name, replicas)
			}
		}
	}
}

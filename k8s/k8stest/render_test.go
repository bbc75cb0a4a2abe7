package k8stest

import (
	"path/filepath"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// types are those that manifests may be of, by apiVersion and kind.
var types = map[string]func() metav1.Object{
	"v1 Namespace":                            func() metav1.Object { return &corev1.Namespace{} },
	"v1 ServiceAccount":                       func() metav1.Object { return &corev1.ServiceAccount{} },
	"v1 ConfigMap":                            func() metav1.Object { return &corev1.ConfigMap{} },
	"v1 Secret":                               func() metav1.Object { return &corev1.Secret{} },
	"v1 Service":                              func() metav1.Object { return &corev1.Service{} },
	"apps/v1 Deployment":                      func() metav1.Object { return &appsv1.Deployment{} },
	"apps/v1 StatefulSet":                     func() metav1.Object { return &appsv1.StatefulSet{} },
	"batch/v1 Job":                            func() metav1.Object { return &batchv1.Job{} },
	"policy/v1 PodDisruptionBudget":           func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
	"networking.k8s.io/v1 NetworkPolicy":      func() metav1.Object { return &networkingv1.NetworkPolicy{} },
	"networking.k8s.io/v1 Ingress":            func() metav1.Object { return &networkingv1.Ingress{} },
	"gateway.networking.k8s.io/v1 HTTPRoute":  func() metav1.Object { return &gatewayv1.HTTPRoute{} },
	"monitoring.coreos.com/v1 ServiceMonitor": func() metav1.Object { return &monitoringv1.ServiceMonitor{} },
	"monitoring.coreos.com/v1 PodMonitor":     func() metav1.Object { return &monitoringv1.PodMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule": func() metav1.Object { return &monitoringv1.PrometheusRule{} },
	"keda.sh/v1alpha1 ScaledObject":           func() metav1.Object { return &scaledObject{} },
	"external-secrets.io/v1 ExternalSecret":   func() metav1.Object { return &externalSecret{} },
}

// scaledObject is as much of KEDA's as manifests here use: its module needs a thousand others.
type scaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ScaleTargetRef  struct{ Name string } `json:"scaleTargetRef"`
		PollingInterval int                   `json:"pollingInterval"`
		MinReplicaCount int32                 `json:"minReplicaCount"`
		MaxReplicaCount int32                 `json:"maxReplicaCount"`
		Fallback        struct {
			FailureThreshold int `json:"failureThreshold"`
			Replicas         int `json:"replicas"`
		} `json:"fallback"`
		Advanced struct {
			HorizontalPodAutoscalerConfig struct {
				Behavior struct {
					ScaleDown struct {
						StabilizationWindowSeconds int `json:"stabilizationWindowSeconds"`
					} `json:"scaleDown"`
				} `json:"behavior"`
			} `json:"horizontalPodAutoscalerConfig"`
		} `json:"advanced"`
		Triggers []struct {
			Type     string `json:"type"`
			Name     string `json:"name"`
			Metadata struct {
				Endpoint            string `json:"natsServerMonitoringEndpoint"`
				Account             string `json:"account"`
				Stream              string `json:"stream"`
				Consumer            string `json:"consumer"`
				LagThreshold        string `json:"lagThreshold"`
				ActivationThreshold string `json:"activationLagThreshold"`
			} `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// externalSecret is as much of External Secrets' as manifests here use.
type externalSecret struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		SecretStoreRef  struct{ Kind, Name string } `json:"secretStoreRef"`
		RefreshInterval string                      `json:"refreshInterval"`
		Target          struct {
			CreationPolicy string `json:"creationPolicy"`
			DeletionPolicy string `json:"deletionPolicy"`
		} `json:"target"`
		Data []struct {
			SecretKey string                         `json:"secretKey"`
			RemoteRef struct{ Key, Property string } `json:"remoteRef"`
		} `json:"data"`
		DataFrom []struct {
			Extract struct{ Key string } `json:"extract"`
		} `json:"dataFrom"`
	} `json:"spec"`
}

// overlay is one of k8s/overlays, rendered.
type overlay struct {
	name    string
	objects []metav1.Object
}

// of gives the objects of one type.
func of[T metav1.Object](o *overlay) (all []T) {
	for _, object := range o.objects {
		if t, ok := object.(T); ok {
			all = append(all, t)
		}
	}
	return all
}

// find gives the object of that name, or the zero value.
func find[T metav1.Object](o *overlay, name string) (found T) {
	for _, object := range of[T](o) {
		if object.GetName() == name {
			return object
		}
	}
	return found
}

// workload is whatever makes pods.
type workload struct {
	kind, name string
	labels     map[string]string
	pod        corev1.PodSpec
}

func (o *overlay) workloads() (all []workload) {
	add := func(kind, name string, t corev1.PodTemplateSpec) {
		all = append(all, workload{kind, name, t.Labels, t.Spec})
	}
	for _, d := range of[*appsv1.Deployment](o) {
		add("Deployment", d.Name, d.Spec.Template)
	}
	for _, s := range of[*appsv1.StatefulSet](o) {
		add("StatefulSet", s.Name, s.Spec.Template)
	}
	for _, j := range of[*batchv1.Job](o) {
		add("Job", j.Name, j.Spec.Template)
	}
	return all
}

var rendered struct {
	sync.Mutex
	overlays map[string]*overlay
}

// render gives every overlay, and the components that none of them uses with the base, decoded.
func render(t *testing.T) []*overlay {
	t.Helper()
	paths, err := filepath.Glob("../overlays/*")
	if err != nil || len(paths) < 2 {
		t.Fatalf("overlays %q, %v", paths, err)
	}
	rendered.Lock()
	defer rendered.Unlock()
	var all []*overlay
	for _, path := range append(paths, "testdata/ingress") {
		o := rendered.overlays[path]
		if o == nil {
			o = &overlay{name: filepath.Base(path), objects: decode(t, path)}
			if rendered.overlays == nil {
				rendered.overlays = map[string]*overlay{}
			}
			rendered.overlays[path] = o
		}
		all = append(all, o)
	}
	return all
}

// decode renders one folder and reads each object into its type; a field that the type does not have is an error.
func decode(t *testing.T, path string) (all []metav1.Object) {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, resource := range resources.Resources() {
		gvk := resource.GetGvk()
		version := gvk.Version
		if gvk.Group != "" {
			version = gvk.Group + "/" + version
		}
		make, known := types[version+" "+gvk.Kind]
		if !known {
			t.Errorf("%s: %s of %s is of no known type", path, resource.GetName(), version+" "+gvk.Kind)
			continue
		}
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object := make()
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s: %s %s: %v", path, gvk.Kind, resource.GetName(), err)
		}
		all = append(all, object)
	}
	return all
}

// each runs a check for each overlay.
func each(t *testing.T, check func(t *testing.T, o *overlay)) {
	t.Helper()
	for _, o := range render(t) {
		t.Run(o.name, func(t *testing.T) { check(t, o) })
	}
}

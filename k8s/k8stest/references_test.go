package k8stest

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

// handed are the Secrets that an installation makes without us, with the keys that we use.
var handed = map[string][]string{"closeloop-nats-tls": {"ca.crt"}}

// secrets are the keys of all Secrets that an overlay has, or that are brought by an ExternalSecret.
func (o *overlay) secrets() map[string][]string {
	all := maps.Clone(handed)
	for _, s := range of[*corev1.Secret](o) {
		all[s.Name] = slices.Concat(slices.Collect(maps.Keys(s.Data)), slices.Collect(maps.Keys(s.StringData)))
	}
	for _, s := range of[*externalSecret](o) {
		for _, d := range s.Spec.Data {
			all[s.Name] = append(all[s.Name], d.SecretKey)
		}
	}
	return all
}

func TestWhateverIsNamedIsThere(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		secrets := o.secrets()
		for _, w := range o.workloads() {
			c := w.pod.Containers[0]
			for _, from := range c.EnvFrom {
				if from.ConfigMapRef == nil || find[*corev1.ConfigMap](o, from.ConfigMapRef.Name) == nil {
					t.Errorf("%s: there is no %+v", w.name, from)
				}
			}
			for _, v := range c.Env {
				if from := v.ValueFrom; from != nil && from.SecretKeyRef != nil && !slices.Contains(secrets[from.SecretKeyRef.Name], from.SecretKeyRef.Key) {
					t.Errorf("%s: there is no %s in Secret %s", w.name, from.SecretKeyRef.Key, from.SecretKeyRef.Name)
				}
			}
			mounted := map[string]bool{}
			for _, m := range c.VolumeMounts {
				mounted[m.Name] = true
			}
			claims := map[string]bool{}
			for _, v := range w.pod.Volumes {
				switch {
				case v.Secret != nil && secrets[v.Secret.SecretName] == nil:
					t.Errorf("%s: there is no Secret %s", w.name, v.Secret.SecretName)
				case v.ConfigMap != nil && find[*corev1.ConfigMap](o, v.ConfigMap.Name) == nil:
					t.Errorf("%s: there is no ConfigMap %s", w.name, v.ConfigMap.Name)
				case !mounted[v.Name]:
					t.Errorf("%s: nothing uses the volume %s", w.name, v.Name)
				}
				claims[v.Name] = true
			}
			if set := find[*appsv1.StatefulSet](o, w.name); set != nil {
				for _, claim := range set.Spec.VolumeClaimTemplates {
					claims[claim.Name] = true
				}
			}
			for name := range mounted {
				if !claims[name] {
					t.Errorf("%s mounts %s, which is no volume of its", w.name, name)
				}
			}
		}
	})
}

// TestTheBrokerKnowsAllItsUsers looks for the passwords that the server's configuration takes from its environment.
func TestTheBrokerKnowsAllItsUsers(t *testing.T) {
	checked := 0
	for _, o := range render(t) {
		broker := find[*appsv1.StatefulSet](o, "nats")
		if broker == nil {
			continue
		}
		there := map[string]bool{}
		for _, v := range broker.Spec.Template.Spec.Containers[0].Env {
			there[v.Name] = true
		}
		for _, c := range of[*corev1.ConfigMap](o) {
			for _, asked := range regexp.MustCompile(`\$(NATS_PASSWORD_[A-Z0-9_]+)`).FindAllStringSubmatch(c.Data["users.conf"], -1) {
				checked++
				if !there[asked[1]] {
					t.Errorf("%s: the broker has no %s", o.name, asked[1])
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no broker has users")
	}
}

func TestEverySecretIsSomebodys(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		used := map[string]bool{"operator": true, "closeloop-nats-users": true} // of people, and of the broker
		for _, w := range o.workloads() {
			for _, v := range w.pod.Volumes {
				if v.Secret != nil {
					used[v.Secret.SecretName] = true
				}
			}
		}
		for name := range o.secrets() {
			if _, ours := handed[name]; !ours && !used[name] {
				t.Errorf("nobody uses Secret %s", name)
			}
		}
	})
}

func TestTheScalersLookAtTheDurablesOfTheirServices(t *testing.T) {
	for _, o := range render(t) {
		scalers := of[*scaledObject](o)
		if o.name != "production" {
			continue
		}
		declared := topology.Of(topology.Settings{})
		consumers := map[string][]string{} // streams by service
		for _, c := range declared.Consumers {
			if service, ok := declared.Service(c.Config.Durable); ok && len(service.Takes) > 0 {
				consumers[service.Name] = append(consumers[service.Name], c.Stream)
			}
		}
		if len(scalers) != len(consumers) {
			t.Errorf("%d scalers for %d services that consume", len(scalers), len(consumers))
		}
		for _, s := range scalers {
			if s.Spec.ScaleTargetRef.Name != s.Name || find[*appsv1.Deployment](o, s.Name) == nil {
				t.Errorf("%s scales %s", s.Name, s.Spec.ScaleTargetRef.Name)
			}
			var streams []string
			for _, trigger := range s.Spec.Triggers {
				streams = append(streams, trigger.Metadata.Stream)
				if trigger.Type != "nats-jetstream" || trigger.Metadata.Consumer != s.Name || trigger.Metadata.Account != "$G" ||
					trigger.Metadata.Endpoint == "" || trigger.Metadata.LagThreshold == "" {
					t.Errorf("%s: %+v is not about its durable", s.Name, trigger)
				}
			}
			if !slices.Equal(streams, consumers[s.Name]) {
				t.Errorf("%s looks at %q, its durables are on %q", s.Name, streams, consumers[s.Name])
			}
		}
	}
}

// public are the paths that lead to each service from outside.
func (o *overlay) public() map[string][]string {
	paths := map[string][]string{}
	for _, w := range o.ways() {
		paths[w.service] = append(paths[w.service], w.path)
	}
	return paths
}

// way leads to a service from outside, for that path alone or for all below it.
type way struct {
	service, path string
	exact         bool
}

func (o *overlay) ways() (all []way) {
	for _, r := range of[*gatewayv1.HTTPRoute](o) {
		for _, rule := range r.Spec.Rules {
			for _, to := range rule.BackendRefs {
				for _, match := range rule.Matches {
					all = append(all, way{string(to.Name), *match.Path.Value, *match.Path.Type == gatewayv1.PathMatchExact})
				}
			}
		}
	}
	for _, i := range of[*networkingv1.Ingress](o) {
		for _, rule := range i.Spec.Rules {
			for _, p := range rule.HTTP.Paths {
				all = append(all, way{p.Backend.Service.Name, p.Path, *p.PathType == networkingv1.PathTypeExact})
			}
		}
	}
	return all
}

func TestBothWaysFromOutsideLeadToTheSame(t *testing.T) {
	ways := map[string]map[string][]string{}
	for _, o := range render(t) {
		ways[o.name] = o.public()
		for _, w := range o.ways() {
			for _, inner := range []string{"/metrics", "/healthz", "/readyz"} {
				if w.path == inner || !w.exact && strings.HasPrefix(inner, strings.TrimSuffix(w.path, "/")+"/") {
					t.Errorf("%s: %s of %s can be reached from outside", o.name, inner, w.service)
				}
			}
		}
		for service := range ways[o.name] {
			if find[*corev1.Service](o, service) == nil {
				t.Errorf("%s: a way leads to %s, which is no Service", o.name, service)
			}
		}
	}
	if route, ingress := ways["production"], ways["ingress"]; len(route) != 6 || !maps.EqualFunc(route, ingress, slices.Equal) {
		t.Errorf("HTTPRoutes lead to %v, the Ingresses to %v", route, ingress)
	}
}

package k8stest

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// end is one end of a flow: a pod of the overlay, a pod in another namespace, or an address.
type end struct {
	pod       map[string]string
	namespace map[string]string // of a pod that is elsewhere
	address   string
	ports     []corev1.ContainerPort
}

// allowed tells whether one may connect to a port of another: what the policies of both ends say.
func (o *overlay) allowed(t *testing.T, from, to end, number int32, protocol corev1.Protocol) bool {
	t.Helper()
	way := func(self, peer end, direction networkingv1.PolicyType) bool {
		if self.pod == nil || self.namespace != nil {
			return true // not ours to say
		}
		bound := false
		for _, p := range of[*networkingv1.NetworkPolicy](o) {
			if !selects(t, &p.Spec.PodSelector, self.pod) {
				continue
			}
			bound = true
			if direction == networkingv1.PolicyTypeEgress {
				for _, rule := range p.Spec.Egress {
					if peers(t, rule.To, peer) && onPort(rule.Ports, to, number, protocol) {
						return true
					}
				}
				continue
			}
			for _, rule := range p.Spec.Ingress {
				if peers(t, rule.From, peer) && onPort(rule.Ports, to, number, protocol) {
					return true
				}
			}
		}
		return !bound
	}
	return way(from, to, networkingv1.PolicyTypeEgress) && way(to, from, networkingv1.PolicyTypeIngress)
}

func peers(t *testing.T, rules []networkingv1.NetworkPolicyPeer, peer end) bool {
	t.Helper()
	for _, r := range rules {
		switch {
		case r.IPBlock != nil:
			if peer.address != "" && within(t, r.IPBlock, peer.address) {
				return true
			}
		case peer.address != "":
		case r.NamespaceSelector != nil:
			if peer.namespace != nil && selects(t, r.NamespaceSelector, peer.namespace) && (r.PodSelector == nil || selects(t, r.PodSelector, peer.pod)) {
				return true
			}
		case peer.namespace == nil && selects(t, r.PodSelector, peer.pod):
			return true
		}
	}
	return false
}

func within(t *testing.T, block *networkingv1.IPBlock, address string) bool {
	t.Helper()
	at := netip.MustParseAddr(address)
	if !netip.MustParsePrefix(block.CIDR).Contains(at) {
		return false
	}
	for _, except := range block.Except {
		if netip.MustParsePrefix(except).Contains(at) {
			return false
		}
	}
	return true
}

func onPort(ports []networkingv1.NetworkPolicyPort, to end, number int32, protocol corev1.Protocol) bool {
	for _, p := range ports {
		if (p.Protocol == nil && protocol != corev1.ProtocolTCP) || (p.Protocol != nil && *p.Protocol != protocol) {
			continue
		}
		if p.Port.Type == intstr.Int && p.Port.IntVal == number {
			return true
		}
		for _, named := range to.ports {
			if p.Port.Type == intstr.String && named.Name == p.Port.StrVal && named.ContainerPort == number {
				return true
			}
		}
	}
	return false
}

// takesTokens tells whether the component for access tokens is in the overlay; the tests have it beside the Ingress.
func (o *overlay) takesTokens() bool { return o.name == "ingress" }

func TestNoPolicyOpensAPortThatItsPodsDoNotHave(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		for _, p := range of[*networkingv1.NetworkPolicy](o) {
			for _, w := range o.workloads() {
				if !selects(t, &p.Spec.PodSelector, w.labels) {
					continue
				}
				for _, rule := range p.Spec.Ingress {
					for _, open := range rule.Ports {
						if open.Port.Type == intstr.String && port(w.pod.Containers[0], open.Port.StrVal) == 0 {
							t.Errorf("policy %s opens %s of %s %s, which has no such port", p.Name, open.Port.StrVal, w.kind, w.name)
						}
					}
				}
			}
		}
	})
}

func TestEachServiceReachesWhatItNeedsAndIsReachedByWhomItServes(t *testing.T) {
	const door, nats, https = 8080, 4222, 443
	everybody := []string{"ingress", "qualtrics-linker", "sap-interaction-writer", "feedback-router", "c4c-tasker", "awardco-recognizer", "console"}
	calls := map[string]bool{"qualtrics-linker": true, "sap-interaction-writer": true, "feedback-router": true, "c4c-tasker": true, "awardco-recognizer": true}
	called := map[string]bool{"ingress": true, "awardco-recognizer": true} // by the simulated vendors
	vendor, inside := end{address: "203.0.113.7"}, end{address: "10.0.0.5"}
	elsewhere := func(name, label string) end {
		return end{pod: map[string]string{"app": name}, namespace: map[string]string{corev1.LabelMetadataName: name, label: "true"}}
	}
	gateway, prometheus, stranger := elsewhere("gateway", "closeloop/gateway"), elsewhere("monitoring", "closeloop/prometheus"), elsewhere("default", "x")
	keda, names := elsewhere("keda", "closeloop/keda"), elsewhere("kube-system", "x")
	each(t, func(t *testing.T, o *overlay) {
		ends := map[string]end{"nats": {pod: map[string]string{"app.kubernetes.io/name": "nats"}}}
		for _, w := range o.workloads() {
			ends[w.labels["app.kubernetes.io/name"]] = end{pod: w.labels, ports: w.pod.Containers[0].Ports}
		}
		says := func(want bool, what string, from, to end, port int32) {
			t.Helper()
			if got := o.allowed(t, from, to, port, corev1.ProtocolTCP); got != want {
				t.Errorf("%s: %t, want %t", what, got, want)
			}
		}
		landscape, simulated := ends["landscape"]
		for _, name := range everybody {
			self := ends[name]
			says(true, name+" reaches NATS", self, ends["nats"], nats)
			says(false, name+" reaches the monitor of NATS", self, ends["nats"], 8222)
			says(false, name+" reaches the Kubernetes API or metadata", self, end{address: "169.254.169.254"}, https)
			says(false, name+" reaches a private network", self, inside, https)
			says(calls[name] || o.takesTokens(), name+" reaches vendors, or an issuer of tokens", self, vendor, https)
			says(false, name+" reaches a vendor without TLS", self, vendor, 80)
			says(true, "Prometheus reaches "+name, prometheus, self, door)
			says(name != "feedback-router", "the gateway reaches "+name, gateway, self, door)
			says(false, "a stranger reaches "+name, stranger, self, door)
			for _, other := range everybody {
				says(false, name+" reaches "+other, self, ends[other], door)
			}
			if !o.allowed(t, self, names, 53, corev1.ProtocolUDP) {
				t.Errorf("%s cannot look names up", name)
			}
			if simulated {
				says(calls[name], name+" reaches the landscape", self, landscape, door)
				says(called[name], "the landscape reaches "+name, landscape, self, door)
			}
		}
		says(true, "the topology job reaches NATS", ends["topology"], ends["nats"], nats)
		says(false, "the topology job reaches vendors", ends["topology"], vendor, https)
		says(true, "KEDA reads the lag", keda, ends["nats"], 8222)
		says(true, "Prometheus reads the exporter beside NATS", prometheus, ends["nats"], 7777)
		says(false, "Prometheus reaches NATS itself", prometheus, ends["nats"], nats)
		says(false, "a stranger reaches NATS", stranger, ends["nats"], nats)
		says(true, "servers of NATS reach each other", ends["nats"], ends["nats"], 6222)
	})
}

// TestWhatACallerWritesOfItsAddressDoesNotCount: a trusted network that is more than the proxies' own has callers in it as well.
func TestWhatACallerWritesOfItsAddressDoesNotCount(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		doors := 0
		for _, w := range o.workloads() {
			c := w.pod.Containers[0]
			if variable(c, "HTTP_TRUSTED_PROXIES") == "" {
				continue
			}
			doors++
			if hops := variable(c, "HTTP_PROXY_HOPS"); hops != "1" {
				t.Errorf("%s takes the word of %q hops, and trusts all of %s", w.name, hops, variable(c, "HTTP_TRUSTED_PROXIES"))
			}
		}
		if doors != 6 {
			t.Errorf("%d services trust a proxy", doors)
		}
	})
}

package writer_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// instead has the tenant answer calls of a pattern in another way, if they hold a text.
func (f fixture) instead(pattern, text string, status int, body any) {
	f.tenant.mu.Lock()
	defer f.tenant.mu.Unlock()
	f.tenant.refuse = func(p string, c servicetest.Call) *servicetest.Reply {
		if p != pattern || !strings.Contains(c.Body, text) {
			return nil
		}
		return &servicetest.Reply{Status: status, Body: body}
	}
}

func TestALookUpThatTellsOfNothingHasFoundNothing(t *testing.T) {
	for name, body := range map[string]any{
		"an empty object": map[string]any{"d": map[string]any{}}, "no result": map[string]any{"d": map[string]any{"results": map[string]any{}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, servicetest.Env{"SAP_MARKETING_WAIT_FOR_DISTRIBUTION": "false"})
			f.instead(find, "", http.StatusOK, body)
			f.publishLinks(1, 1)
			f.written(1)
			if f.tenant.count() != 1 {
				t.Errorf("%d interactions are there, one is said to be", f.tenant.count())
			}
		})
	}
}

func TestABatchThatIsRefusedAsAWholeSinksNoOther(t *testing.T) {
	f := start(t, and(together, "SAP_MARKETING_WRITE_MODE", "batch"))
	f.tenant.refuse = func(p string, c servicetest.Call) *servicetest.Reply {
		if p != batch || !strings.Contains(c.Body, "OB-00007") || !strings.Contains(c.Body, "changeset") {
			return nil
		}
		r := refused(http.StatusBadRequest, "Malformed operation in the batch")
		return &r
	}
	f.publishLinks(1, 50)
	bustest.Eventually(t, "all of them", func() bool { return f.tenant.count() == 50 }) // that one by itself
}

func TestATenantWhoseBatchIsNotImplementedIsAskedSingly(t *testing.T) {
	f := start(t, together)
	f.instead(batch, "", http.StatusNotImplemented, nil)
	f.publishLinks(1, 30)
	f.written(30)
}

// Each call with credentials that are refused brings the technical user nearer to being locked.
func TestRefusedCredentialsStopAWaveAtOnce(t *testing.T) {
	f := start(t, and(together, "SAP_MARKETING_WRITE_MODE", "interactions"))
	f.instead(insert, "", http.StatusUnauthorized, nil)
	f.publishLinks(1, 200)
	bustest.Eventually(t, "the pause", func() bool { return strings.Contains(f.Log(), "the vendor is out") })
	if n := len(f.tenant.Calls(insert)); n > 10 {
		t.Errorf("%d calls with refused credentials", n)
	}
}

func TestTwoRequestsForOneOutboundIdAreOneMail(t *testing.T) {
	f := start(t, together)
	for _, id := range []string{"R-1", "R-2"} {
		f.broker.Publish(subjects.SurveyLinkCreated, strings.ReplaceAll(link, "A1", id))
	}
	f.written(2)
	if n := f.tenant.count(); n != 1 {
		t.Errorf("%d interactions of one outbound id", n)
	}
}

package console

import (
	"context"
	"net/http"
	"strings"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/rulebook"
	"github.com/closeloop/closeloop/services/console/web"
)

// ruleRoutes are open to everybody who may read: a trial of rules changes nothing, and shows what is masked.
func ruleRoutes(s *site, p *rulebook.Pages) {
	s.read("/rules", p.Rules)
	s.read("/rules/try", func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
		return web.Redirect("/rules#try"), nil // whoever reloads a trial by its address
	})
	s.handle(http.MethodPost, "/rules/try", httpdoor.Guarded, p.Try)
}

// shownField gives a field of an event, by its path, as everybody may see it.
func shownField(path, value string) string {
	if isShown(strings.Split(path, "."), value) {
		return value
	}
	return dots(value)
}

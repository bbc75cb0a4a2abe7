package console

import (
	"context"
	"net/http"
	"strings"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/rulebook"
	"github.com/closeloop/closeloop/services/console/web"
)

// ruleRoutes show the rules to everybody who may read. Who tries some decides what is asked of every answer, and what of it goes into
// which field: no mask can keep what people said from them, so that they must be somebody who may see it, and say why, as of a body.
func ruleRoutes(s *site, p *rulebook.Pages) {
	s.read("/rules", p.Rules)
	s.read("/rules/try", func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
		return web.Redirect("/rules#try"), nil // whoever reloads a trial by its address
	})
	s.operate(http.MethodPost, "/rules/try", p.Try)
}

// shownField gives a field of an event, by its path, as everybody may see it.
func shownField(path, value string) string {
	if isShown(strings.Split(path, "."), value) {
		return value
	}
	return dots(value)
}

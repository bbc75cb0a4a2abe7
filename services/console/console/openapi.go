package console

import (
	"context"
	_ "embed"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// openAPI describes every route to programs.
//
//go:embed openapi.yaml
var openAPI []byte

// document answers GET /openapi.yaml.
func document(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := web.Known(r.Query); err != nil {
		return nil, err
	}
	return &httpdoor.Response{ContentType: "application/yaml", Body: openAPI}, nil
}

package console

import (
	"context"
	"path/filepath"

	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/console/loops"
)

// openLoops opens the read model, which follows the streams from then on.
func openLoops(ctx context.Context, h *service.Host, dir string) (*loops.Store, error) {
	path := ""
	if dir != "" {
		path = filepath.Join(dir, "console", "loops.db")
	}
	store, err := loops.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	h.Go("loops", loops.NewFollower(store, h.Bus.JetStream(), h.Log).Run)
	return store, nil
}

package console

import (
	"context"
	"time"

	g "maragu.dev/gomponents"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/numbers"
)

// vendorsEvery is how often a page of vendors is brought up to date.
const vendorsEvery = 3 * time.Second

// numbersRoutes adds the pages of numbers and of vendors.
func numbersRoutes(s *site, pages *numbers.Pages) {
	s.read("/numbers", pages.Numbers)
	s.read("/vendors", pages.Vendors)
	s.live("/vendors/live", nil, func(ctx context.Context, _ *httpdoor.Request, to *httpdoor.Events) error {
		return vendorsLive(ctx, pages, newParts(to))
	})
}

// vendorsLive sends what has changed of the vendors. Nobody is told while the read model cannot be asked.
func vendorsLive(ctx context.Context, pages *numbers.Pages, page *parts) error {
	tick := time.NewTicker(vendorsEvery)
	defer tick.Stop()
	for {
		if now, err := pages.VendorParts(ctx); err == nil {
			ids, nodes := make([]string, len(now)), map[string]g.Node{}
			for i, part := range now {
				ids[i], nodes[part.ID] = part.ID, part.Node
			}
			if err := page.send(ids, nodes); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

package console

import (
	"context"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/numbers"
	"github.com/closeloop/closeloop/services/console/web"
)

// vendorsEvery is how often a page of vendors is brought up to date.
const vendorsEvery = 3 * time.Second

// numbersRoutes adds the pages of numbers and of vendors.
func numbersRoutes(s *site, pages *numbers.Pages) {
	s.read("/numbers", pages.Numbers)
	s.read("/vendors", pages.Vendors)
	s.live("/vendors/live", nil, func(ctx context.Context, _ *httpdoor.Request, to *httpdoor.Events) error {
		return newParts(to).keep(ctx, vendorsEvery, func() ([]web.Piece, bool) {
			now, _ := pages.VendorParts(ctx) // nobody is told while the read model cannot be asked
			return now, true
		})
	})
}

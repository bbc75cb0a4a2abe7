package landscape

import (
	"fmt"
	"log/slog"

	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud/version2"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// openSales opens SAP Sales Cloud in both versions, with the same business partners and technical user.
func (l *Landscape) openSales(st *store.Store, s *Settings, log *slog.Logger) error {
	first, err := salescloud.Settings{Username: s.SalesUsername, Password: s.SalesPassword.Reveal()}.With([]byte(s.SalesSwitches))
	if err != nil {
		return fmt.Errorf("LANDSCAPE_C4C: %w", err)
	}
	if l.sales, err = salescloud.New(st, first, log); err != nil {
		return err
	}
	second, err := version2.Settings{Username: s.SalesUsername, Password: s.SalesPassword.Reveal()}.With([]byte(s.Sales2Switches))
	if err != nil {
		return fmt.Errorf("LANDSCAPE_C4C_V2: %w", err)
	}
	l.sales2, err = version2.New(st, second, l.sales, log)
	return err
}

// SalesCloud gives the simulated SAP Sales Cloud, for tests that disturb it or look into its books.
func (l *Landscape) SalesCloud() *salescloud.Simulator { return l.sales }

// SalesCloud2 gives its Version 2, whose parties are those of the first.
func (l *Landscape) SalesCloud2() *version2.Simulator { return l.sales2 }

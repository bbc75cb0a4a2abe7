package landscape

import "github.com/closeloop/closeloop/services/landscape/internal/marketing"

// Marketing is the simulated SAP Marketing Cloud, for tests that talk to it directly.
func (l *Landscape) Marketing() *marketing.Simulator { return l.marketing }

package landscape

import "github.com/closeloop/closeloop/services/landscape/internal/demo"

// Expected is [Landscape.Expected] for a landscape that runs elsewhere, with customers who answer.
func Expected(members int) Expectation { return demo.Expected(members, true) }

package awardco

// Books is what the company holds at one moment.
type Books struct {
	Recognitions []Recognition `json:"recognitions"`
	Users        []User        `json:"users"`
	Programs     []Program     `json:"programs"`
	Budgets      []Budget      `json:"budgets"`
	// Deliveries are the webhook's.
	Deliveries []Delivery `json:"deliveries"`
	// Calls counts the calls of the API by operation, such as "POST /recognize".
	Calls map[string]int `json:"calls"`
}

// Books gives a copy of everything, oldest first.
func (s *Simulator) Books() Books {
	return Books{
		Recognitions: s.recognitions.All(),
		Users:        s.users.All(),
		Programs:     s.programs.All(),
		Budgets:      s.budgets.All(),
		Deliveries:   s.deliveries.All(),
		Calls:        s.calls.ByOperation(),
	}
}

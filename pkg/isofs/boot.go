package isofs

// A BootEntry is an entry of the El Torito boot catalog.
type BootEntry struct {
	Platform string `json:"platform"`
}

// Boot reads the El Torito boot catalog.
func (v *Volume) Boot() ([]BootEntry, error) { return nil, nil }

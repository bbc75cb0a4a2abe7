package standalone

import (
	"os"
	"strings"
)

// setDefault sets a variable that is not set, nor its _FILE. Services read their settings from the environment, in one
// process as in many.
func setDefault(name, value string) error {
	if os.Getenv(name) != "" || os.Getenv(name+"_FILE") != "" {
		return nil
	}
	return os.Setenv(name, value)
}

func replaceURL(value, url string) string { return strings.ReplaceAll(value, "{url}", url) }

package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// short writes a number in five letters at most, for places that have room for no more: 9999, 12.3k, 4.5M.
func short(n int) string {
	if n < 10_000 {
		return strconv.Itoa(n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"k", "M", "G", "T", "P", "E"} {
		if v /= 1000; v < 999.5 {
			break
		}
	}
	if v < 99.95 {
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + unit
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + unit
}

// Percent writes a share: "93%". It is 0% and 100% only where that is exact; what is nearly nothing is "under 1%", and what is
// nearly all "over 99%".
func Percent(part, whole int) string {
	if whole <= 0 {
		return "0%"
	}
	switch v := math.Round(float64(part) / float64(whole) * 100); {
	case v == 0 && part > 0:
		return "under 1%"
	case v == 100 && part < whole:
		return "over 99%"
	default:
		return fmt.Sprintf("%.0f%%", v)
	}
}

// top gives the end of a scale that begins at zero: 1, 2 or 5 and zeros, and not below the number.
func top(most int) int {
	for unit := 1; ; unit *= 10 {
		for _, step := range []int{1, 2, 5} {
			if most <= step*unit || unit > math.MaxInt/100 {
				return max(most, step*unit)
			}
		}
	}
}

// breadth of words in pixels, rather too much than too little: pictures are drawn where no letters can be measured.
func breadth(words string, size float64) float64 {
	var ems float64
	for _, r := range words {
		ems += breadthOf(r)
	}
	return ems * size
}

func breadthOf(r rune) float64 {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case r >= 0x1100: // most scripts of wide letters, and signs of which one cannot know
		return 1
	case strings.ContainsRune("iljtfrI.,:;'|!()[] ", r):
		return 0.36
	case strings.ContainsRune("mwMW%@", r):
		return 0.95
	case unicode.IsUpper(r):
		return 0.72
	default:
		return 0.58
	}
}

// cut leaves of words what there is room for.
func cut(words string, size, room float64) string {
	words = strings.Join(strings.Fields(words), " ")
	if breadth(words, size) <= room {
		return words
	}
	room -= breadth("…", size)
	for i, r := range words {
		if room -= breadthOf(r) * size; room < 0 {
			return strings.TrimSpace(words[:i]) + "…"
		}
	}
	return words
}

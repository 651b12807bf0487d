package config

import "strings"

// nearest returns the candidate that s was probably meant to be, or "". A
// candidate in another section counts when its last part is what was written.
func nearest(s string, candidates []string) string {
	best, bestDistance := "", max(2, len(s)/3)+1
	last := s[strings.LastIndexByte(s, '.')+1:]
	for _, c := range candidates {
		d := min(distance(s, c), 1+distance(last, c[strings.LastIndexByte(c, '.')+1:]))
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete, replace or swap with
// their neighbour that lead from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// didYouMean is the end of a message about a word that is none of candidates.
func didYouMean(s string, candidates []string) string {
	if n := nearest(s, candidates); n != "" {
		return "; did you mean " + n + "?"
	}
	return ""
}

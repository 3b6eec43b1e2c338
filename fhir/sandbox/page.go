package sandbox

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// offset is the parameter of our next links.
const offset = "_offset"

// lastUpdated is when a resource was written; zero where it does not say.
func lastUpdated(r Resource) time.Time {
	meta, _ := r["meta"].(Resource)
	at, _ := time.Parse(time.RFC3339Nano, text(meta["lastUpdated"]))
	return at
}

// matchesLastUpdated knows the prefixes that a sweep uses; a bare time is the time itself.
func matchesLastUpdated(r Resource, value string) bool {
	prefix, at := "eq", value
	if len(value) > 2 && value[0] >= 'a' && value[0] <= 'z' {
		prefix, at = value[:2], value[2:]
	}
	bound, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		if bound, err = time.Parse(time.DateOnly, at); err != nil {
			return false
		}
	}
	switch order := lastUpdated(r).Compare(bound); prefix {
	case "ge":
		return order >= 0
	case "gt":
		return order > 0
	case "le":
		return order <= 0
	case "lt":
		return order < 0
	default:
		return order == 0
	}
}

// sortBy sorts by _lastUpdated, and by _id where that is asked for too; anything else keeps the order of first versions.
func sortBy(all []Resource, by string) {
	if by == "" {
		return
	}
	slices.SortStableFunc(all, func(a, b Resource) int {
		for key := range strings.SplitSeq(by, ",") {
			name, down := strings.CutPrefix(key, "-")
			order := 0
			switch name {
			case "_lastUpdated":
				order = lastUpdated(a).Compare(lastUpdated(b))
			case "_id":
				order = cmp.Compare(text(a["id"]), text(b["id"]))
			}
			if down {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
}

// pageOf is the page that is asked for, and the query of the next one; nil on the last one. Pages are cut from what is there
// now, as servers without snapshots do.
func pageOf(all []Resource, query url.Values) (page []Resource, next url.Values) {
	from, _ := strconv.Atoi(query.Get(offset))
	size, err := strconv.Atoi(query.Get("_count"))
	if err != nil || size < 1 {
		size = len(all)
	}
	from = min(max(0, from), len(all))
	to := min(from+size, len(all))
	if to < len(all) {
		next = maps.Clone(query)
		next[offset] = []string{strconv.Itoa(to)}
	}
	return all[from:to], next
}

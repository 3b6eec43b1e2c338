// Package catchup is about what was never posted to us. It keeps the Subscriptions by which servers post at all, and looks at
// what a source holds in their place: hints leave it, by the same admit that the endpoint uses. One replica at a time works
// for a source, by a lease in Redis.
package catchup

// Package adapter is the whole program as a value: serve runs it, the demo runs it between two sandboxes, and tests start
// and stop it. Its rooms are the stations on a document's way, from the endpoint to the relay.
package adapter

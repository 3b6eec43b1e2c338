// Package relay is the worker: it takes due records from the ledger, asks the source how their document stands now,
// compares that with what the citizen was told, and takes exactly one next step: send, wait, poll, stop, or ask a person
// (design, section 5). What a step means is decided by pure functions of what was learned; effects happen before or after.
package relay

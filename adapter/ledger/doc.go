// Package ledger is what Staffetta remembers, in Redis: one record per document, at once deduplication memory, durable
// queue and timetable. Hints enter by Admit, due records leave by Claim and come back by Settle; each is one atomic Lua
// script per partition, and Redis' own clock decides. See section 4 of the design.
package ledger

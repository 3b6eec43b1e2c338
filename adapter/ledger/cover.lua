-- cover: asks whether the message about another document of a citizen covers this one (policy.one_message).
-- KEYS[1]  staffetta:cover:<source>:<person>  string: s:<until in ms>:<record key> while the first message is sent,
--          t:<when in ms>:<IO's message id> when it was
-- ARGV[1]  record key
-- ARGV[2]  for how long a message covers what comes after it, in ms
-- ARGV[3]  for how long others wait for one that is being sent, in ms
-- ARGV[4]  ms added to Redis' clock (tests)
-- Returns  "first" (it is to be sent, others wait for it) | "wait" | t:<when in ms>:<IO's message id>
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
local kind, at, rest = string.match(redis.call('GET', KEYS[1]) or '', '^(%a):(%d+):(.*)$')
if kind == 't' and at + ARGV[2] > now then return 't:' .. at .. ':' .. rest end
if kind == 's' and rest ~= ARGV[1] and tonumber(at) > now then return 'wait' end
redis.call('SET', KEYS[1], 's:' .. string.format('%.0f', now + ARGV[3]) .. ':' .. ARGV[1], 'PX', ARGV[3])
return 'first'

-- ask: of several records whose documents share a message one asks IO how it stands, for all of them.
-- KEYS[1]  staffetta:asked:<IO's message id>  string: !<status> <read status> once it is final, else who asks, or - for nobody
-- ARGV[1]  record key
-- ARGV[2]  for how long others wait for its answer, in ms
-- Returns  "ask" | "wait" | !<status> <read status>
local known = redis.call('GET', KEYS[1])
if known and string.sub(known, 1, 1) == '!' then return known end
if known and known ~= ARGV[1] then return 'wait' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'ask'

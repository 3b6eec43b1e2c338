-- renew: a step that takes longer than its lease keeps its record.
-- KEYS[1]  staffetta:{p}:due:<source>  sorted set
-- ARGV[1]  prefix, "staffetta:{p}:"
-- ARGV[2]  record key
-- ARGV[3]  token
-- ARGV[4]  length of the lease in ms
-- ARGV[5]  ms added to Redis' clock (tests)
-- ARGV[6]  "1": a step with a suspect begins, and is counted until it is settled
-- Returns  1, or 0 where the record is settled or in other hands
local rk = ARGV[1] .. 'r:' .. ARGV[2]
local r = redis.call('HMGET', rk, 't', 'l')
if r[1] ~= ARGV[3] or not r[2] then return 0 end
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[5] + ARGV[4]
redis.call('HSET', rk, 'l', ends)
if ARGV[6] == '1' then redis.call('HINCRBY', rk, 'cb', 1) end
redis.call('ZADD', KEYS[1], 'XX', ends, ARGV[2])
redis.call('ZADD', ARGV[1] .. 'track', 'XX', ends, ARGV[2])
return 1

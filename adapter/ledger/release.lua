-- release: a person looked at a held record; it is looked at again.
-- KEYS[1]  staffetta:{p}:held  sorted set
-- ARGV[1]  prefix, "staffetta:{p}:"
-- ARGV[2]  record key
-- ARGV[3]  entries that the journal keeps, 0 = no journal
-- ARGV[4]  ms added to Redis' clock (tests)
-- ARGV[5]  event, ARGV[6] who, ARGV[7] why: for the journal
-- Returns  1, or 0 where the record is not held, or somebody else is about to do something with it
local rk = ARGV[1] .. 'r:' .. ARGV[2]
local r = redis.call('HMGET', rk, 's', 'n', 'q', 'l')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
if r[1] ~= 'H' or (r[4] and tonumber(r[4]) > now) then return 0 end
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('HSET', rk, 's', r[3] or 'P')
redis.call('HDEL', rk, 'w', 'c', 'cb', 'l', 't') -- whoever had it leased comes too late
redis.call('ZADD', ARGV[1] .. 'due:' .. r[2], now, ARGV[2])
if ARGV[3] ~= '0' then
  redis.call('XADD', ARGV[1] .. 'journal', 'MAXLEN', '~', ARGV[3], '*', 'k', ARGV[2], 'e', r[2] .. ' ' .. ARGV[5], 'w', ARGV[6], 'y', ARGV[7])
end
return 1

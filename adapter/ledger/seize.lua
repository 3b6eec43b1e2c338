-- seize: leases one live record by its key, whenever it is due: another record that replaces it must end it. A held record
--        stays held until it is settled: a crash in between tells nobody.
-- KEYS[1]  staffetta:{p}:due:<source>  sorted set
-- ARGV[1]  prefix, "staffetta:{p}:"
-- ARGV[2]  record key
-- ARGV[3]  length of the lease in ms
-- ARGV[4]  ms added to Redis' clock (tests)
-- Returns  "unknown" | "busy" (leased, or a message of it is on its way) | {now, values of the record's fields, see liveFields
--          in claim.go...}
local rk = ARGV[1] .. 'r:' .. ARGV[2]
local fields = {'n', 's', 't', 'c', 'b', 'f', 'o', 'v', 'g', 'h', 'e', 'x', 'p', 'k', 'cb'}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
local r = redis.call('HMGET', rk, 'l', unpack(fields))
if not r[2] then return 'unknown' end
if r[3] == 'S' or r[3] == 'T' or r[15] or (r[1] and tonumber(r[1]) > now) then return 'busy' end
local token = string.format('%.0f', now * 1000 + redis.call('INCR', ARGV[1] .. 'claims') % 1000)
redis.call('HSET', rk, 'l', now + ARGV[3], 't', token)
redis.call('HDEL', rk, 'd', 'i', 'f1')
if r[3] ~= 'H' then redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2]) end -- a crash now: it is looked at again
r[4] = token
local answer = {now}
for i = 1, #fields do answer[1 + i] = r[1 + i] end
return answer

-- heard: notes that a replica is there to be posted to, and what a source has posted since it noted so last.
-- KEYS[1]  staffetta:{at:<source>}:catchup  hash; the list of what was heard, KEYS[1] .. ':heard', shares its hash tag
-- ARGV[1]  ms added to Redis' clock (tests)
-- ARGV[2]  ms for which nobody may have been there without a sweep
-- ARGV[3]  why a sweep is wanted anyway, "" where none is
-- ARGV[4..]  what was heard, one text for each Subscription
-- Returns  ms since somebody was there last, -1 where nobody ever was
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local was = tonumber(redis.call('HGET', KEYS[1], 'a') or nil)
local away = was and math.max(0, now - was) or -1
local why = ARGV[3]
if why == '' and away > tonumber(ARGV[2]) then why = 'outage' end
if why ~= '' then
  redis.call('HINCRBY', KEYS[1], 'w', 1)
  redis.call('HSET', KEYS[1], 'y', why)
end
redis.call('HSET', KEYS[1], 'a', now)
if #ARGV > 3 then
  local list = KEYS[1] .. ':heard'
  redis.call('RPUSH', list, unpack(ARGV, 4))
  redis.call('LTRIM', list, -10000, -1)
end
return away

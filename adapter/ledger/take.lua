-- take: gives out IO calls of the budget that all replicas share (a token bucket).
-- KEYS[1]  staffetta:{io}:pace  hash
-- ARGV[1]  how many are wanted
-- ARGV[2]  calls per second
-- ARGV[3]  "messages" | "polls": messages come first
-- ARGV[4]  ms added to Redis' clock (tests)
-- Returns  {granted, ms to wait before asking again where nothing was granted}
local want, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
local r = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'unmet')
local tokens, at = tonumber(r[1] or want), tonumber(r[2] or now)
tokens = math.min(tokens + math.max(0, now - at) * rate / 1000, math.max(want, rate / 10))
local wait = math.ceil(math.max(1, (1 - tokens) * 1000 / rate))
if ARGV[3] == 'polls' and r[3] and now < tonumber(r[3]) then -- until the message has asked again
  redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now)
  return {0, math.max(wait, 100)}
end
local granted = math.min(want, math.floor(tokens))
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens - granted), 'at', now)
if granted < want and ARGV[3] == 'messages' then redis.call('HSET', KEYS[1], 'unmet', now + wait + 200) end
return {granted, wait}

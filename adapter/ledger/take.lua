-- take: gives out IO calls of the budget that all replicas share (a token bucket), and messages of the daily cap.
-- KEYS[1]  staffetta:{io}:pace  hash
-- ARGV[1]  how many are wanted
-- ARGV[2]  calls per second
-- ARGV[3]  "messages" | "polls": messages come first
-- ARGV[4]  ms added to Redis' clock (tests)
-- ARGV[5]  how many messages are wanted under the daily cap, "0" where there is none
-- ARGV[6]  the cap
-- ARGV[7]  the day, a name that grows: 20261124
-- Returns  {granted, ms to wait before asking again where nothing was granted, messages granted}; where messages are wanted
--          and none are left for the day, nothing is granted at all
local want, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
local messages = tonumber(ARGV[5])
if messages > 0 then
  local c = redis.call('HMGET', KEYS[1], 'day', 'messages')
  local day, used = c[1] or '', tonumber(c[2] or 0)
  if day < ARGV[7] then day, used = ARGV[7], 0 end
  messages = math.max(0, math.min(messages, ARGV[6] - used))
  if messages == 0 then return {0, 0, 0} end
  redis.call('HSET', KEYS[1], 'day', day, 'messages', used + messages)
end
local r = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'unmet')
local tokens, at = tonumber(r[1] or want), tonumber(r[2] or now)
tokens = math.min(tokens + math.max(0, now - at) * rate / 1000, math.max(want, rate / 10))
local wait = math.ceil(math.max(1, (1 - tokens) * 1000 / rate))
if ARGV[3] == 'polls' and r[3] and now < tonumber(r[3]) then -- until the message has asked again
  redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now)
  return {0, math.max(wait, 100), messages}
end
local granted = math.min(want, math.floor(tokens))
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens - granted), 'at', now)
if granted < want and ARGV[3] == 'messages' then redis.call('HSET', KEYS[1], 'unmet', now + wait + 200) end
return {granted, wait, messages}

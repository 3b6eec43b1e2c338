-- claim: leases due records of one partition, sources taking turns.
-- KEYS[1]  staffetta:{p}:journal  names the partition's slot; records and sets share its hash tag
-- ARGV[1]  prefix, "staffetta:{p}:"
-- ARGV[2]  how many at most
-- ARGV[3]  length of the lease in ms
-- ARGV[4]  ms added to Redis' clock (tests)
-- ARGV[5]  "1": also from the track set, with what the sources leave
-- ARGV[6..] sources, in turn order
-- Returns  {now, next, claim...}: next is the earliest time in ms at which more is due, "" for none; each claim is
--          {record key, "due" | "track", score, fields and values of the record...}
local prefix, most, lease, track = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
local answer, next = {now, ''}, nil

-- take leases one record out of a set; false where it is no longer to be had.
local function take(set, name, key, score)
  local rk = prefix .. 'r:' .. key
  local r = redis.call('HMGET', rk, 'n', 'l')
  if not r[1] then
    redis.call('ZREM', set, key)
    return false
  end
  if r[2] and tonumber(r[2]) > now then -- claimed through the other set
    redis.call('ZADD', set, r[2], key)
    return false
  end
  redis.call('HDEL', rk, 'd', 'i', 'f1') -- this claim sees what was hinted during the last one
  -- A token is never given twice, also when the record ended and came again: time, and a number within it.
  local n = redis.call('INCR', prefix .. 'claims') % 1000
  redis.call('HSET', rk, 'l', now + lease, 't', string.format('%.0f', now * 1000 + n))
  if redis.call('HEXISTS', rk, 'k') == 1 then redis.call('HSET', rk, 'k1', 1) end -- this claim sees what was told late
  redis.call('HINCRBY', rk, 'c', 1)
  redis.call('ZADD', set, now + lease, key)
  local claim = {key, name, score}
  for _, part in ipairs(redis.call('HGETALL', rk)) do claim[#claim + 1] = part end
  answer[#answer + 1] = claim
  return true
end

local sets, names = {}, {}
for i = 6, #ARGV do
  sets[#sets + 1], names[#names + 1] = prefix .. 'due:' .. ARGV[i], 'due'
end
local taken = 0
local function turns(from, to)
  local waiting, at = {}, {}
  for s = from, to do
    waiting[s] = redis.call('ZRANGEBYSCORE', sets[s], '-inf', now, 'WITHSCORES', 'LIMIT', 0, most - taken)
    at[s] = 1
  end
  local more = true
  while more and taken < most do
    more = false
    for s = from, to do
      local key = waiting[s][at[s]]
      if key and taken < most then
        more = true
        if take(sets[s], names[s], key, waiting[s][at[s] + 1]) then taken = taken + 1 end
        at[s] = at[s] + 2
      end
    end
  end
end
turns(1, #sets)
if track then
  sets[#sets + 1], names[#names + 1] = prefix .. 'track', 'track'
  turns(#sets, #sets)
end
for s = 1, #sets do
  local first = redis.call('ZRANGE', sets[s], 0, 0, 'WITHSCORES')
  if first[2] and (not next or tonumber(first[2]) < next) then next = tonumber(first[2]) end
end
if next then answer[2] = next end
return answer

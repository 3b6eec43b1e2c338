-- claim: leases due records, sources taking turns.
-- KEYS[1]  staffetta:{p}:journal  only names the slot; sets and records are computed: on a cluster a call names one
--          partition only, and all of them share its hash tag
-- ARGV[1]  how many at most
-- ARGV[2]  length of the lease in ms
-- ARGV[3]  ms added to Redis' clock (tests)
-- ARGV[4]  "1": also from the track sets
-- ARGV[5]  partitions, in turn order, "7 8 9 ..."
-- ARGV[6..] sources, in turn order
-- Returns  {now, next, claim...}: next is the earliest time in ms at which more is due, "" for none; each claim is
--          {record key, "due" | "track", score, {values of the record's fields, see liveFields in claim.go}}
local call, ARGV = redis.call, ARGV -- globals are looked up by name, each time
local most, lease, track = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4] == '1'
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
local answer, leased = {now, ''}, string.format('%.0f', now + lease)

-- A token is never given twice, also when the record ended and came again: time, and a number within it.
local counted = {}
local function token(prefix)
  if not counted[prefix] then counted[prefix] = call('INCRBY', prefix .. 'claims', most) - most end
  counted[prefix] = counted[prefix] + 1
  return string.format('%.0f', now * 1000 + counted[prefix] % 1000)
end

-- take leases one record out of a set; false where it is no longer to be had.
local function take(prefix, set, name, key, score)
  local rk = prefix .. 'r:' .. key
  local r = call('HMGET', rk, 'n', 's', 't', 'c', 'b', 'f', 'o', 'v', 'g', 'h', 'e', 'x', 'p', 'k', 'cb', 'a', 'l', 'd')
  local source, claimed, hinted = r[1], r[17], r[18]
  if not source then
    call('ZREM', set, key)
    return false
  end
  if claimed and tonumber(claimed) > now then -- through the other set
    call('ZADD', set, claimed, key)
    return false
  end
  if hinted and name == 'track' then -- a poll looks at no document: what was hinted during the last claim waits
    call('ZADD', prefix .. 'due:' .. source, 'LT', hinted, key)
    call('HDEL', rk, 'w')
  end
  if hinted then call('HDEL', rk, 'd', 'i', 'f1') end -- this claim sees what was hinted during the last one
  r[3], r[4], r[17], r[18] = token(prefix), tostring((r[4] or 0) + 1), nil, nil
  call('HSET', rk, 'l', leased, 't', r[3], 'c', r[4])
  if r[14] then call('HSET', rk, 'k1', '1') end -- this claim sees what was told late
  call('ZADD', set, leased, key)
  answer[#answer + 1] = {key, name, score, r}
  return true
end

local prefixes = {}
for p in string.gmatch(ARGV[5], '%d+') do prefixes[#prefixes + 1] = 'staffetta:{' .. p .. '}:' end

-- waiting gives one due record of a source after the other, partition by partition.
local function waiting(name, suffix)
  local p, due, at = 0, {}, 1
  return function(room)
    while not due[at] do
      p = p + 1
      if not prefixes[p] then return nil end
      due, at = call('ZRANGEBYSCORE', prefixes[p] .. suffix, '-inf', now, 'WITHSCORES', 'LIMIT', 0, room), 1
    end
    at = at + 2
    return prefixes[p], prefixes[p] .. suffix, name, due[at - 2], due[at - 1]
  end
end

local taken = 0
local function turns(queues, until_taken)
  local more = true
  while more and taken < until_taken do
    more = false
    for _, queue in ipairs(queues) do
      local prefix, set, name, key, score = queue(until_taken - taken)
      if key then
        more = true
        if take(prefix, set, name, key, score) then taken = taken + 1 end
        if taken >= until_taken then break end
      end
    end
  end
end

local suffixes, queues = {}, {}
for i = 6, #ARGV do
  suffixes[#suffixes + 1] = 'due:' .. ARGV[i]
  queues[#queues + 1] = waiting('due', suffixes[#suffixes])
end
-- Whatever the backlog, one in eight is left to messages whose delivery is followed: it never stops.
turns(queues, track and most > 1 and most - math.ceil(most / 8) or most)
if track then
  suffixes[#suffixes + 1] = 'track'
  turns({waiting('track', 'track')}, most)
  turns(queues, most)
end
if taken > 0 then -- there may be more: claim again
  answer[2] = now
  return answer
end
local next
for _, prefix in ipairs(prefixes) do
  for _, suffix in ipairs(suffixes) do
    local first = call('ZRANGE', prefix .. suffix, 0, 0, 'WITHSCORES')
    if first[2] and (not next or tonumber(first[2]) < next) then next = tonumber(first[2]) end
  end
end
if next then answer[2] = next end
return answer

-- admit: marks records due because hints say that what they stand for changed.
-- KEYS[1]  staffetta:{p}:journal  stream; only names the slot. All other keys are computed from the raw keys of the records:
--          on a cluster all records of one call share a partition, and with it the hash tag.
-- ARGV[1]  fingerprint of the naming key
-- ARGV[2]  entries that the journal keeps, 0 = no journal
-- ARGV[3]  ms added to Redis' clock (tests)
-- ARGV[4]  months that retention spans, "202611 202610 ...", newest first
-- ARGV[5.. +10 each]  record key, raw key, source, first state, order in ms (6 bytes, "" unknown), version (8 bytes, "" unknown),
--          settle time in ms, sealed locator, "1" where a known record takes that over, ms ago from which on the settle time
--          of the document counts that a find record leads to
-- Returns  for each hint "new" | "newer" | "duplicate" | "stale"; or the error NAMING
local prefix, months, done_in = '', {}, {}
for month in string.gmatch(ARGV[4], '%d+') do
  months[#months + 1] = month
  done_in[#months] = 'done:' .. month .. ':'
end

-- rests finds a finished record: its month and value.
local function rests(raw, keys)
  for i = 2, #keys do
    local value = call('HGET', keys[i], raw)
    if value then return months[i - 1], keys[i], value end
  end
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
local now_text = string.format('%.0f', now) -- Redis writes a number out at each call, which costs as much as the call

-- The fingerprint stands in every partition; that of the first record is asked for all of the call.
local naming = prefix_of(string.byte(ARGV[6], 1) % 16) .. 'naming'
local fingerprint = call('GET', naming)
if not fingerprint then
  call('SET', naming, ARGV[1])
elseif fingerprint ~= ARGV[1] then
  return redis.error_reply('NAMING another naming key wrote this ledger')
end

-- tag is what a record remembers of a hint: its order, zero where that is unknown, and its version.
local unknown = string.rep('\0', 6)
local function tag_of(order, version) return (order ~= '' and order or unknown) .. version end

-- known says how a hint stands to what was read: only against that is it a duplicate or stale. Another version that is said to
-- be a little older may have been written since, by a node whose clock is behind: it is looked for. What was read is known again
-- by its version; without one by its time in ms, where whole seconds may hold two changes.
local function known(order, version, readOrder, readVersion)
  if order == '' or not readOrder or readOrder == 0 then return 'newer' end
  local hinted, same = number48(order, 1), version ~= '' and version == readVersion
  if hinted < readOrder and (same or readOrder - hinted > backwards) then return 'stale' end
  if hinted ~= readOrder then return 'newer' end
  return (same or version == '' and hinted % 1000 ~= 0) and 'duplicate' or 'newer'
end

local function journal(key, source, event)
  if ARGV[2] ~= '0' then
    call('XADD', prefix .. 'journal', 'MAXLEN', '~', ARGV[2], '*', 'k', key, 'e', source .. ' ' .. event)
  end
end

-- live marks a record that still needs something.
local function live(rk, r, key, order, version, settle, heard)
  local source, state, wait = r[1], r[2], r[3]
  local answer = known(order, version, tonumber(r[4]), r[5])
  if answer ~= 'newer' then return answer end
  local tag = tag_of(order, version)
  local differs = tag ~= r[7]
  local newest, hinted = r[7] and number48(r[7], 1) or 0, number48(tag, 1)
  local moves = differs and (order == '' or hinted >= newest) -- an older one that comes late moves nothing
  if moves then
    call('HSET', rk, 'g', tag)
    local before = math.max(tonumber(r[11] or 0), newest)
    if before > hinted then call('HSET', rk, 'h', before) end
  end
  local set = prefix .. 'due:' .. source
  if state == 'H' then
    if differs then journal(key, source, 'hint') end
    if r[6] then -- a person is about to do something with it: settle makes it due
      call('HSET', rk, 'd', math.max(tonumber(r[9] or 0), now + settle), 'i', (r[9] and tag ~= r[10]) and '*' or tag)
      call('HSETNX', rk, 'f1', heard)
    end
    if wait == 'o' then -- it waits for its source only: no person is needed for another look
      call('ZREM', prefix .. 'held', key)
      call('HSET', rk, 's', r[12] or 'P', 'e', heard)
      call('HDEL', rk, 'w')
      call('ZADD', set, now + settle, key)
    end
    return answer
  end
  if r[6] then -- claimed, and not yet settled or claimed again: settle makes it due
    if not r[9] then
      call('HSET', rk, 'd', now + settle, 'f1', heard, 'i', tag)
      if tonumber(r[6]) <= now and state ~= 'S' then -- its worker died: it settles before it is claimed again
        call('ZADD', set, now + settle, key)
      end
    else
      if tag ~= r[10] then call('HSET', rk, 'i', '*') end
      if moves then
        local first = tonumber(call('HGET', rk, 'f1'))
        call('HSET', rk, 'd', math.max(tonumber(r[9]), math.min(now + settle, first + 5 * settle)))
      end
    end
  else
    local due = tonumber(call('ZSCORE', set, key) or nil)
    if not due or wait == 'o' then -- only its delivery is followed, or it waits for the source
      call('HSET', rk, 'e', heard)
      call('HDEL', rk, 'w')
      call('ZADD', set, math.min(due or math.huge, now + settle), key)
    elseif not wait and moves then -- it settles
      call('ZADD', set, math.max(due, math.min(now + settle, tonumber(r[8] or now) + 5 * settle)), key)
    end
  end
  if differs then journal(key, source, 'hint') end
  return answer
end

-- due_after is the time after settling, written out once for all hints that settle equally long.
local dues = {[0] = now_text}
local function due_after(settle)
  local due = dues[settle]
  if not due then
    due = string.format('%.0f', now + settle)
    dues[settle] = due
  end
  return due
end

-- fresh makes a live record, from nothing or from a finished one.
local function fresh(rk, key, source, state, order, version, settle, heard, locator)
  local f = {'n', source, 's', state, 'e', heard, 'g', tag_of(order, version)}
  if locator ~= '' then f[9], f[10] = 'x', locator end
  call('HSET', rk, unpack(f))
  call('ZADD', prefix .. 'due:' .. source, due_after(settle), key)
  journal(key, source, 'hint')
end

local answers = {}
for i = 5, #ARGV, 10 do
  local key, raw, source, state = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local order, version, settle, locator = ARGV[i + 4], ARGV[i + 5], tonumber(ARGV[i + 6]), ARGV[i + 7]
  local heard = ARGV[i + 9] == '0' and now_text or string.format('%.0f', now - ARGV[i + 9])
  local first, second, third = string.byte(raw, 1, 3)
  local bucket = tostring((second * 256 + third) % 1024)
  prefix = prefix_of(first % 16)
  local keys = {prefix .. 'r:' .. key} -- where it may be known from: live, and finished in each month
  for n = 1, #months do keys[n + 1] = prefix .. done_in[n] .. bucket end
  local rk, found, answer = keys[1], ARGV[i + 8] == '1', nil
  local r = {} -- most hints are of new documents: one question is cheaper than one for each place
  local nowhere = call('EXISTS', unpack(keys)) == 0
  if not nowhere then r = call('HMGET', rk, 'n', 's', 'w', 'o', 'v', 'l', 'g', 'e', 'd', 'i', 'h', 'q') end
  if r[1] then
    if found and locator ~= '' then call('HSET', rk, 'x', locator) end
    answer = live(rk, r, key, order, version, settle, heard)
  else
    local month, done, value
    if not nowhere then month, done, value = rests(raw, keys) end
    if not value then
      fresh(rk, key, source, state, order, version, settle, heard, locator)
      answer = 'new'
    else
      answer = known(order, version, number48(value, 2), string.sub(value, 8, 15))
      if answer == 'newer' then
        call('HDEL', done, raw)
        call('HINCRBY', prefix .. 'ends', string.sub(value, 1, 1) .. string.sub(value, 16, 16), -1)
        local locators = prefix .. 'kept:' .. month .. ':' .. bucket
        if not found then locator = call('HGET', locators, raw) or locator end
        call('HDEL', locators, raw)
        fresh(rk, key, source, string.sub(value, 1, 1), order, version, settle, heard, locator)
        call('HSET', rk, 'f', value, 'o', number48(value, 2), 'v', string.sub(value, 8, 15))
      end
    end
  end
  answers[#answers + 1] = answer
end
return answers

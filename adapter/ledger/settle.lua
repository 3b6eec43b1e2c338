-- settle: writes outcomes of steps.
-- KEYS[1]  staffetta:{p}:journal  only names the slot; all other keys are computed from the raw keys of the records: on a
--          cluster all records of one call share a partition, and with it the hash tag
-- ARGV[1]  entries that the journal keeps, 0 = no journal
-- ARGV[2]  ms added to Redis' clock (tests)
-- ARGV[3]  length of the lease in ms
-- ARGV[4]  months that finished records may lie in, "202611 202610 ...", that of now first
-- ARGV[5]  when the month of now expires, in s since 1970
-- ARGV[6]  the same for the whereabouts of documents that somebody was told of, which are kept for longer
-- ARGV[7.. +21 each]  see settle.go, appendSettlement: key, raw key, token, "1" keep, due in ms ("" none), wait, track in ms
--          ("" none), state, order, version, body, recipient, finished value ("" where it is not finished), what was told
--          ("" where no message was taken), event, reason, source, sealed locator, "1" where the claim was
--          for its delivery: a look that waits beside it goes on waiting, "1" where the locator is kept when it ends, sealed
--          whereabouts ("" where no message with a reference is about to be sent, or was)
-- Returns  for each settlement "written" | "due-again" | "stale-token"
local prefix, months, expiry = '', {}, ARGV[5]
for month in string.gmatch(ARGV[4], '%d+') do months[#months + 1] = month end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
local leased, rest = string.format('%.0f', now + ARGV[3]), string.format('%.0f', math.ceil(expiry - now / 1000))

local function journal(key, source, event, state, reason)
  if ARGV[1] ~= '0' and event ~= '' then
    local line = source .. ' ' .. event .. ' ' .. state .. ' ' .. reason -- one field costs a third of four
    call('XADD', prefix .. 'journal', 'MAXLEN', '~', ARGV[1], '*', 'k', key, 'e', line)
  end
end

-- varint reads what Go's binary.AppendUvarint wrote.
local function varint(packed, at)
  local n, unit = 0, 1
  while true do
    local b = string.byte(packed, at)
    if not b then return 0, at end
    n, at = n + b % 128 * unit, at + 1
    if b < 128 then return n, at end
    unit = unit * 128
  end
end

-- told_at is when a citizen was told, in ms, by what is packed from a place on (see pack.go, Told.pack); 0 for never.
local function told_at(packed, at)
  if not packed or (string.byte(packed, at) or 0) % 2 == 0 then return 0 end
  return (varint(packed, at + 10))
end

-- ended_at is the same for a finished value.
local function ended_at(value)
  if not value or string.sub(value, 1, 1) == 'f' then return 0 end
  local _, at = varint(value, 17)
  return told_at(value, at)
end

-- told_late keeps what a citizen was told when the claim that told them is over: it is never forgotten, unless something
-- newer was told since.
local function told_late(key, raw, r, bucket, source, state, reason, body, recipient, locator, told)
  local rk, set = prefix .. 'r:' .. key, prefix .. 'due:' .. source
  local at = told_at(told, 1)
  if r[6] then
    local f = call('HMGET', rk, 'b', 'f')
    if math.max(told_at(r[2], 1), f[1] and told_at(f[1], 1) or ended_at(f[2])) >= at then return end
    call('HSET', rk, 'k', told, 'p', recipient)
    call('HDEL', rk, 'k1', 'w')
    call('ZADD', set, 'LT', now, key)
    call('ZREM', prefix .. 'held', key)
    if r[3] == 'H' then call('HSET', rk, 's', 'P') end
  else
    for _, month in ipairs(months) do
      local done = prefix .. 'done:' .. month .. ':' .. bucket
      local ended = call('HGET', done, raw)
      if ended then
        if ended_at(ended) >= at then return end
        call('HDEL', done, raw)
        call('HINCRBY', prefix .. 'ends', string.sub(ended, 1, 1) .. string.sub(ended, 16, 16), -1)
        call('HSET', rk, 'o', number48(ended, 2), 'v', string.sub(ended, 8, 15))
        break
      end
    end
    call('HSET', rk, 'n', source, 's', state, 'e', now, 'b', body, 'p', recipient, 'x', locator, 'k', told)
    call('ZADD', set, now, key)
  end
  journal(key, source, 'told-late', state, reason)
end

-- remember keeps where a document is read again when its message is opened. It is written before the message, since a citizen
-- may be quicker than what follows, and again with what followed; a claim that is over (HSETNX) changes nothing about it.
local function remember(raw, bucket, whereabouts, set)
  if whereabouts == '' then return end
  local told = prefix .. 'told:' .. months[1] .. ':' .. bucket
  call(set, told, raw, whereabouts)
  call('EXPIRE', told, math.ceil(ARGV[6] - now / 1000))
end

local answers = {}
for i = 7, #ARGV, 21 do
  local key, raw, token, keep, due, wait = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local track, state, order, version, body = ARGV[i + 6], ARGV[i + 7], ARGV[i + 8], ARGV[i + 9], ARGV[i + 10]
  local recipient, finished, told, event = ARGV[i + 11], ARGV[i + 12], ARGV[i + 13], ARGV[i + 14]
  local reason, source, locator, polled = ARGV[i + 15], ARGV[i + 16], ARGV[i + 17], ARGV[i + 18]
  local first, second, third = string.byte(raw, 1, 3)
  prefix = prefix_of(first % 16)
  local bucket = (second * 256 + third) % 1024
  local rk = prefix .. 'r:' .. key
  local r
  if keep == '1' and told == '' then -- what goes on with its claim, half of all, needs the first ones only
    r = call('HMGET', rk, 't', 'k', 's', 'k1', 'l')
  else
    r = call('HMGET', rk, 't', 'k', 's', 'k1', 'l', 'n', 'd', 'i', 'f1', 'g', 'h', 'w', 'a')
  end
  local set = prefix .. 'due:' .. source
  local answer = 'written'
  if r[1] ~= token then
    answer = 'stale-token'
    if told ~= '' then
      remember(raw, bucket, ARGV[i + 20], 'HSETNX')
      told_late(key, raw, r, bucket, source, state, reason, body, recipient, locator, told)
    end
    if polled == '1' then journal(key, source, 'late-status', state, reason) end -- it changes nothing
  elseif keep == '1' and r[2] and not r[4] then
    answer = 'due-again' -- somebody told the citizen since this claim: nothing is written, it is looked at with that
  elseif keep == '1' then
    remember(raw, bucket, ARGV[i + 20], 'HSET')
    call('HSET', rk, 's', state, 'b', body, 'p', recipient)
    if now + ARGV[3] - (r[5] or 0) > ARGV[3] / 16 then -- what follows has a whole lease before it, or nearly
      call('HSET', rk, 'l', leased)
      call('ZADD', set, 'XX', leased, key)
      if r[3] == 'T' then call('ZADD', prefix .. 'track', 'XX', leased, key) end
    end
    journal(key, source, event, state, reason)
  else
    remember(raw, bucket, ARGV[i + 20], 'HSET')
    -- A hint that came since the claim, and that what was read does not cover, makes the record due again.
    local again = r[7]
    if again and r[8] ~= '*' and order ~= '' then
      local hinted, hintedVersion = number48(r[8], 1), string.sub(r[8], 7) -- see admit.lua, tag_of
      local same = (hintedVersion == '' and hinted == tonumber(order)) or (hintedVersion ~= '' and hintedVersion == version)
      if hinted > 0 and (hinted < tonumber(order) - backwards or (hinted <= tonumber(order) and same)) then again = nil end
    end
    if r[2] and not r[4] then again = now end -- told late since this claim: look at it with that
    local gone = {'l', 'c', 'cb', 'g', 't'} -- without its token it cannot be settled twice
    if r[7] then gone[6], gone[7], gone[8] = 'd', 'i', 'f1' end
    if r[11] then gone[#gone + 1] = 'h' end
    local set_to = {'s', state, 'b', body}
    local function field(name, value)
      if value and value ~= '' then
        set_to[#set_to + 1] = name
        set_to[#set_to + 1] = value
      else
        gone[#gone + 1] = name
      end
    end
    if r[4] then
      gone[#gone + 1] = 'k'
      gone[#gone + 1] = 'k1'
    end
    if polled == '1' and due == '' and state ~= 'H' then
      local waiting = call('ZSCORE', set, key)
      if waiting then due, wait, finished = waiting, r[12] or '', '' end
    end
    if again then
      answer = 'due-again'
      if state ~= 'H' then
        if wait == 'f' and due ~= '' then due = math.max(tonumber(due), tonumber(again)) -- a backoff, an embargo stays
        elseif polled == '1' and due ~= '' then due, wait = math.min(tonumber(due), tonumber(again)), ''
        else due, wait = again, '' end
        finished = ''
        field('e', r[9] or now)
      end
    end
    if finished ~= '' then
      if r[13] and string.sub(finished, 1, 1) == 'f' and #finished == 16 then finished = finished .. r[13] end -- see alias.lua
      local done, locators = prefix .. 'done:' .. months[1] .. ':' .. bucket, prefix .. 'kept:' .. months[1] .. ':' .. bucket
      if ARGV[i + 19] == '1' then
        call('HSET', locators, raw, call('HGET', rk, 'x') or locator)
        call('EXPIRE', locators, rest)
      end
      call('DEL', rk)
      call('ZREM', set, key)
      call('ZREM', prefix .. 'track', key)
      call('HSET', done, raw, finished)
      call('EXPIRE', done, rest)
      call('HINCRBY', prefix .. 'ends', string.sub(finished, 1, 1) .. string.sub(finished, 16, 16), 1)
    else
      if again then
        local hinted = math.max(tonumber(r[11] or 0), r[10] and number48(r[10], 1) or 0)
        if hinted > 0 then field('h', hinted) end
      end
      if order ~= '' then
        field('o', order)
        field('v', version)
      end
      field('p', recipient)
      field('w', wait)
      field('f', nil)
      if state == 'H' and string.upper(r[3]) == 'F' then field('q', 'F') -- a release goes on finding
      elseif state == 'H' and recipient ~= '' then field('q', 'S') -- or sends again, to exactly that person
      elseif state == 'H' then field('q', nil) end
      call('HDEL', rk, unpack(gone))
      call('HSET', rk, unpack(set_to))
      if due ~= '' then call('ZADD', set, due, key) else call('ZREM', set, key) end
      if track ~= '' then call('ZADD', prefix .. 'track', track, key) else call('ZREM', prefix .. 'track', key) end
    end
    if state == 'H' then
      call('ZADD', prefix .. 'held', 'NX', now, key)
    elseif r[3] == 'H' then
      call('ZREM', prefix .. 'held', key)
    end
    journal(key, source, event, state, reason)
  end
  answers[#answers + 1] = answer
end
return answers

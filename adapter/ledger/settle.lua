-- settle: writes outcomes of steps to one partition.
-- KEYS[1]  staffetta:{p}:journal  names the partition's slot; all other keys share its hash tag
-- ARGV[1]  prefix, "staffetta:{p}:"
-- ARGV[2]  entries that the journal keeps, 0 = no journal
-- ARGV[3]  ms added to Redis' clock (tests)
-- ARGV[4]  length of the lease in ms
-- ARGV[5.. +21 each]  see settlement.go, args: key, raw key, bucket, month, expiry of the month in s, token, "1" keep, due
--          in ms ("" none), wait, track in ms ("" none), state, order, version, body, recipient, finished value ("" where
--          it is not finished), what was told ("" where no message was taken), event, reason, source, sealed locator
-- Returns  for each settlement "written" | "due-again" | "stale-token"
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]

local function journal(key, source, event, state, reason)
  if ARGV[2] ~= '0' then
    redis.call('XADD', prefix .. 'journal', 'MAXLEN', '~', ARGV[2], '*', 'k', key, 'n', source, 'e', event, 's', state, 'r', reason)
  end
end

local answers = {}
for i = 5, #ARGV, 21 do
  local key, raw, bucket, month, expiry, token = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local keep, due, wait, track, state = ARGV[i + 6], ARGV[i + 7], ARGV[i + 8], ARGV[i + 9], ARGV[i + 10]
  local order, version, body, recipient = ARGV[i + 11], ARGV[i + 12], ARGV[i + 13], ARGV[i + 14]
  local finished, told, event, reason = ARGV[i + 15], ARGV[i + 16], ARGV[i + 17], ARGV[i + 18]
  local source, locator = ARGV[i + 19], ARGV[i + 20]
  local rk, done = prefix .. 'r:' .. key, prefix .. 'done:' .. month .. ':' .. bucket
  local r = redis.call('HMGET', rk, 't', 'n', 'd', 'i', 'f1', 'k', 's', 'k1', 'g', 'h')
  local set = prefix .. 'due:' .. source
  local answer = 'written'
  if r[1] ~= token then
    answer = 'stale-token'
    if told ~= '' then -- what a citizen was told is never forgotten
      if r[2] then
        redis.call('HSET', rk, 'k', told, 'p', recipient)
        redis.call('HDEL', rk, 'k1')
        redis.call('ZADD', set, 'LT', now, key)
        redis.call('ZREM', prefix .. 'held', key)
        redis.call('HDEL', rk, 'w')
        if redis.call('HGET', rk, 's') == 'H' then redis.call('HSET', rk, 's', 'P') end
        journal(key, source, 'told-late', state, reason)
      elseif string.sub(redis.call('HGET', done, raw) or '', -#told) ~= told then -- unknown, or ended without it
        local ended = redis.call('HGET', done, raw)
        if ended then
          redis.call('HDEL', done, raw)
          redis.call('HINCRBY', prefix .. 'ends', string.sub(ended, 1, 1) .. string.sub(ended, 16, 16), -1)
          local read = 0
          for b = 2, 7 do read = read * 256 + string.byte(ended, b) end
          redis.call('HSET', rk, 'o', read, 'v', string.sub(ended, 8, 15))
        end
        redis.call('HSET', rk, 'n', source, 's', state, 'e', now, 'b', body, 'p', recipient, 'x', locator, 'k', told)
        redis.call('ZADD', set, now, key)
        journal(key, source, 'told-late', state, reason)
      end
    end
  elseif keep == '1' then
    redis.call('HSET', rk, 's', state, 'b', body, 'p', recipient, 'l', now + ARGV[4])
    for _, name in ipairs({set, prefix .. 'track'}) do
      if redis.call('ZSCORE', name, key) then redis.call('ZADD', name, now + ARGV[4], key) end
    end
    journal(key, source, event, state, reason)
  else
    -- A hint that came since the claim, and that what was read does not cover, makes the record due again.
    local again = r[3]
    if again and r[4] ~= '*' and order ~= '' then
      local hinted, hintedVersion = string.match(r[4], '^(%d*):(.*)$')
      hinted = tonumber(hinted)
      if hinted and (hinted < tonumber(order) or (hinted == tonumber(order) and (hintedVersion == '' or hintedVersion == version))) then
        again = nil
      end
    end
    if r[6] and not r[8] then again = now end -- told late since this claim: look at it with that
    if r[8] then redis.call('HDEL', rk, 'k', 'k1') end
    redis.call('HDEL', rk, 'd', 'i', 'f1', 'l', 'c', 'h', 'g')
    if again then
      answer = 'due-again'
      if state ~= 'H' then
        due, wait, finished = again, '', ''
        redis.call('HSET', rk, 'e', r[5] or now)
      end
      local hinted = math.max(tonumber(r[10] or 0), tonumber(string.match(r[9] or '', '^(%d+):') or 0))
      if hinted > 0 then redis.call('HSET', rk, 'h', hinted) end
    end
    if finished ~= '' then
      redis.call('DEL', rk)
      redis.call('ZREM', set, key)
      redis.call('ZREM', prefix .. 'track', key)
      redis.call('HSET', done, raw, finished)
      redis.call('EXPIREAT', done, expiry)
      redis.call('HINCRBY', prefix .. 'ends', string.sub(finished, 1, 1) .. string.sub(finished, 16, 16), 1)
    else
      redis.call('HSET', rk, 's', state, 'b', body)
      redis.call('HDEL', rk, 'f')
      if order ~= '' then redis.call('HSET', rk, 'o', order, 'v', version) end
      if recipient ~= '' then redis.call('HSET', rk, 'p', recipient) else redis.call('HDEL', rk, 'p') end
      if wait ~= '' then redis.call('HSET', rk, 'w', wait) else redis.call('HDEL', rk, 'w') end
      if due ~= '' then redis.call('ZADD', set, due, key) else redis.call('ZREM', set, key) end
      if track ~= '' then redis.call('ZADD', prefix .. 'track', track, key) else redis.call('ZREM', prefix .. 'track', key) end
    end
    if state == 'H' then
      redis.call('ZADD', prefix .. 'held', 'NX', now, key)
      if string.upper(r[7]) == 'F' then redis.call('HSET', rk, 'q', 'F') end -- a release goes on finding
    else
      redis.call('ZREM', prefix .. 'held', key)
    end
    journal(key, source, event, state, reason)
  end
  answers[#answers + 1] = answer
end
return answers

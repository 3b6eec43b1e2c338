-- alias: remembers that hints on resources speak of a document, as finished find records of one partition.
-- KEYS[1]  staffetta:{p}:journal  names the partition's slot; all other keys share its hash tag
-- ARGV[1]  prefix, "staffetta:{p}:"
-- ARGV[2..  +5 each]  record key, raw key, bucket, month, seconds until the month expires, finished value
-- Returns  how many were written; a find record that still works, also the one whose find this is, will lead there itself. Where
--          its resource is gone by then, it leads where it is noted to
local written = 0
for i = 2, #ARGV, 6 do
  local done = ARGV[1] .. 'done:' .. ARGV[i + 3] .. ':' .. ARGV[i + 2]
  if redis.call('EXISTS', ARGV[1] .. 'r:' .. ARGV[i]) == 0 then
    local was, value = redis.call('HGET', done, ARGV[i + 1]), ARGV[i + 5]
    if was then value = string.sub(was, 1, 16) .. string.sub(value, 17) -- what it has read stays
    else redis.call('HINCRBY', ARGV[1] .. 'ends', string.sub(value, 1, 1) .. string.sub(value, 16, 16), 1) end
    redis.call('HSET', done, ARGV[i + 1], value)
    redis.call('EXPIRE', done, ARGV[i + 4])
    written = written + 1
  else
    local rk = ARGV[1] .. 'r:' .. ARGV[i]
    local r = redis.call('HMGET', rk, 's', 'w', 'n', 'q')
    redis.call('HSET', rk, 'a', string.sub(ARGV[i + 5], 17))
    if r[1] == 'H' and r[2] == 'o' then -- held as no-document: there is one now, it will lead there itself
      local time = redis.call('TIME')
      redis.call('ZREM', ARGV[1] .. 'held', ARGV[i])
      redis.call('HSET', rk, 's', r[4] or 'F')
      redis.call('HDEL', rk, 'w', 'c')
      redis.call('ZADD', ARGV[1] .. 'due:' .. r[3], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[i])
    end
  end
end
return written

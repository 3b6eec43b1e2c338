-- uncover: the first message came to nothing, or it was sent: those that wait for it learn of it.
-- KEYS[1]  staffetta:cover:<source>:<person>
-- ARGV[1]  record key
-- ARGV[2]  t:<when in ms>:<IO's message id>, or "" where it came to nothing
-- ARGV[3]  for how long a message covers what comes after it, in ms
-- Returns  1, or 0 where another document is the first by now and nothing was sent
local kind, rest = string.match(redis.call('GET', KEYS[1]) or '', '^(%a):%d+:(.*)$')
local own = kind == 's' and rest == ARGV[1]
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if not own then return 0 end
redis.call('DEL', KEYS[1])
return 1

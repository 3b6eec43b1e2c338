-- alias: remembers that hints on resources speak of a document, as finished find records of one partition.
-- KEYS[1]  staffetta:{p}:journal  names the partition's slot; all other keys share its hash tag
-- ARGV[1]  prefix, "staffetta:{p}:"
-- ARGV[2..  +5 each]  record key, raw key, bucket, month, seconds until the month expires, finished value
-- Returns  how many were written; a find record that still works is left alone: it will lead there itself
local written = 0
for i = 2, #ARGV, 6 do
  local done = ARGV[1] .. 'done:' .. ARGV[i + 3] .. ':' .. ARGV[i + 2]
  if redis.call('EXISTS', ARGV[1] .. 'r:' .. ARGV[i]) == 0 then
    redis.call('HSET', done, ARGV[i + 1], ARGV[i + 5])
    redis.call('EXPIRE', done, ARGV[i + 4])
    written = written + 1
  end
end
return written

-- shared: what stands before admit.lua and settle.lua.
local call, ARGV = redis.call, ARGV -- globals are looked up by name, each time

-- prefix_of is of the partition of a record; a number is slow to be written out.
local prefixes = {}
local function prefix_of(partition)
  local known = prefixes[partition]
  if not known then
    known = 'staffetta:{' .. partition .. '}:'
    prefixes[partition] = known
  end
  return known
end

-- backwards is by how many ms the order of a newer version may be lower: two nodes of a source may write with clocks that are
-- five minutes wrong, one either way.
local backwards = 10 * 60 * 1000

-- number48 reads a number of six bytes, as an order is.
local function number48(value, from)
  local n = 0
  for i = from, from + 5 do n = n * 256 + string.byte(value, i) end
  return n
end


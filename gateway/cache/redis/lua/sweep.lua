-- Drop expired or truncated fields that a lookup found, unless they were renewed meanwhile. Delete the whole key if
-- it is not a hash, has another owner's tag, or has malformed meta.
-- KEYS: the hash. ARGV: tag, lifetime in ticks, 'main' or 'variant', ids.
local field = meta_field(KEYS[1])
local rest = string.sub(field, TAG_BYTES + 1)
local sound = rest == ''
if ARGV[3] == 'main' then
  sound = string.find(rest, '^%d+$') or string.find(rest .. ' ', '^%d+ %d+ %d+ %d+ ')
end
if string.sub(field, 1, TAG_BYTES) ~= ARGV[1] or not sound then return redis.call('DEL', KEYS[1]) end
local gone = {}
for i = 4, #ARGV do
  local record = redis.call('HGET', KEYS[1], ARGV[i])
  local left = standing(record)
  if record and string.byte(record, 1) == FORMAT and fillable(left)
    and (not left or number_at(left, 3, 5) + tonumber(ARGV[2]) <= NOW) then
    gone[#gone + 1] = ARGV[i]
  end
end
in_steps(gone, function(...) redis.call('HDEL', KEYS[1], ...) end)
return #gone

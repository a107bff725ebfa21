-- Drop a user's ratings; pending writes and holds are kept to their end. KEYS: main hashes.
-- ARGV: ttl, channel, message, number of ids (0: all), the ids, then a tag for each key.
local ttl, channel, message, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local ids = {}
for i = 5, 4 + count do ids[#ids + 1] = ARGV[i] end

local function purge(meta, stamp, named)
  local gone, kept = {}, {}
  local function judge(id, record)
    if not record or id == META then return end
    record = standing(record)
    if is_pending(record) then return end
    local held_rating = held(record)
    if held_rating then
      kept[#kept + 1] = id
      kept[#kept + 1] = ending(stamp, held_rating)
    else
      gone[#gone + 1] = id
    end
  end
  if named then
    for _, id in ipairs(ids) do judge(id, redis.call('HGET', meta.key, id)) end
    drop_in_variants(meta, ids)
  else
    local fields = redis.call('HGETALL', meta.key)
    for i = 1, #fields, 2 do judge(fields[i], fields[i + 1]) end
    drop_variants(meta)
  end
  in_steps(gone, function(...) redis.call('HDEL', meta.key, ...) end)
  in_steps(kept, function(...) redis.call('HSET', meta.key, ...) end)
end

for i, key in ipairs(KEYS) do
  local meta = open(key, ARGV[4 + count + i])
  purge(meta, raise(meta), count > 0)
  save(meta, ttl)
end
publish(channel, message)
return 1

-- A replay of writes that Redis missed. KEYS: main, [paired]. ARGV: tag, ttl, paired tag, hold, channel, message,
-- 'all' or '', bound, then id and how many writers begun here have ended since, by turns. Returns the new stamp, the
-- time, then in turn those of these ids that were pending or held, and their records.
local tag, ttl, paired_tag, hold = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local channel, message, all = ARGV[5], ARGV[6], ARGV[7] == 'all'
local meta = open(KEYS[1], tag)
local stamp = raise(meta)
local reply = { digits(stamp), digits(MICROS) }

local function replay(id, record, ended)
  local writers = math.max(writers_of(record) - ended, 0)
  local mark, till = 0, NOW + hold
  if writers > 0 then mark, till = CONTESTED, number_at(record, 3, 5) end
  local after = pending_write(stamp, writers, mark, till)
  redis.call('HSET', KEYS[1], id, after)
end

if all then
  -- The ids were dropped from the queue: nothing fetched until now stands, and what is fetched in the hold is fresh
  -- no longer than that.
  local fields, gone = redis.call('HGETALL', KEYS[1]), {}
  for i = 1, #fields, 2 do
    if fields[i] ~= META then
      local record = standing(fields[i + 1])
      if fillable(record) then gone[#gone + 1] = fields[i] else replay(fields[i], record, 0) end
    end
  end
  in_steps(gone, function(...) redis.call('HDEL', KEYS[1], ...) end)
  drop_variants(meta)
  paired_write(meta, stamp, hold)
end
local ids = {}
for i = 9, #ARGV, 2 do
  local id, record = ARGV[i], standing(redis.call('HGET', KEYS[1], ARGV[i]))
  ids[#ids + 1] = id
  if not fillable(record) then
    reply[#reply + 1] = id
    reply[#reply + 1] = record
  end
  replay(id, record, tonumber(ARGV[i + 1]))
end
drop_in_variants(meta, ids)
save(meta, ttl)
keep_bound(KEYS[1], tonumber(ARGV[8]))
mark_paired(hold, ttl, paired_tag)
publish(channel, message)
return reply

-- A write is about to be sent. KEYS: main, [paired].
-- ARGV: tag, ttl, paired tag, hold, write term, channel, message, id.
local tag, ttl, paired_tag, hold, term = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local channel, message, id = ARGV[6], ARGV[7], ARGV[8]
local meta = open(KEYS[1], tag)
local stamp = raise(meta)
local record = standing(redis.call('HGET', KEYS[1], id))
local writers = writers_of(record)
local mark = writers > 0 and CONTESTED or is_unknown(record) and AFTER_UNKNOWN or 0
local till = is_pending(record) and math.max(NOW + term, number_at(record, 3, 5)) or NOW + term
redis.call('HSET', KEYS[1], id, pending_write(stamp, writers + 1, mark, till, held(record)))
drop_in_variants(meta, { id })
save(meta, ttl)
mark_paired(hold, ttl, paired_tag)
publish(channel, message)
return digits(stamp)

-- A write is about to be sent. KEYS: main, [twin]. ARGV: tag, ttl, twin's tag, hold, write term, channel, news, id.
local tag, ttl, twin_tag, hold, term = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local channel, news, id = ARGV[6], ARGV[7], ARGV[8]
local meta = open(KEYS[1], tag)
local stamp = raise(meta)
local cell = standing(redis.call('HGET', KEYS[1], id))
local writers = writers_of(cell)
redis.call('HSET', KEYS[1], id, unsettled(stamp, writers + 1, writers > 0, NOW + term, held(cell)))
drop_in_variants(meta, { id })
save(meta, ttl)
mark_twin(hold, ttl, twin_tag)
publish(channel, news)
return digits(stamp)

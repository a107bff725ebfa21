-- Whether one more variant gets a place. KEYS: main. ARGV: tag, ttl, freshness in ms.
local meta = open(KEYS[1], ARGV[1])
local before = #meta.variants
local admitted = make_place(meta, ARGV[2], tonumber(ARGV[3]), false)
if #meta.variants < before then save(meta, ARGV[2]) end
return admitted and 1 or 0

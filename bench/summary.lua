-- SPDX-License-Identifier: Apache-2.0
-- wrk's own report is for people; this adds one line of JSON as the last.
function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format('{"requests": %d, "bytes": %d, "microseconds": %d, "errors": %d}\n',
      summary.requests, summary.bytes, summary.duration,
      e.connect + e.read + e.write + e.status + e.timeout))
end

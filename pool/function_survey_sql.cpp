// The query of function_survey.hpp. It may run under any settings of a client's session: everything
// is qualified, operators have operands of exactly their types (so that no other schema's are
// taken), no literal has a backslash, and texts come in the database's encoding, bytes that are not
// ASCII as \ooo, so that no conversion fails.
#include "pool/function_survey.hpp"

namespace sluice::pool {

namespace {

// 'f': a function in SQL or PL/pgSQL and its source; 'g': in another language; 'x': one too long to
// send whole; 'w': a function that is known by its name; 'e': whoever names the first uses the
// second; 'v': an event trigger's function; 'p': a policy's expressions.
constexpr std::string_view survey = R"sql(
WITH f AS MATERIALIZED (
  SELECT p.proname::pg_catalog.text AS name,
         CASE WHEN p.prosrc = ''::pg_catalog.text THEN pg_catalog.pg_get_functiondef(p.oid)
              ELSE p.prosrc END AS source,
         l.lanname::pg_catalog.text = 'sql'::pg_catalog.text
           OR l.lanname::pg_catalog.text = 'plpgsql'::pg_catalog.text AS is_sql
  FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE (p.prokind = 'f'::pg_catalog."char" OR p.prokind = 'p'::pg_catalog."char")
    AND l.lanname::pg_catalog.text <> 'c'::pg_catalog.text
    AND l.lanname::pg_catalog.text <> 'internal'::pg_catalog.text
    AND n.nspname::pg_catalog.text !~ '^pg_'::pg_catalog.text
    AND n.nspname::pg_catalog.text <> 'information_schema'::pg_catalog.text
), w AS MATERIALIZED (
  SELECT p.proname::pg_catalog.text AS name
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  WHERE p.proname::pg_catalog.text = 'set_limit'::pg_catalog.text
    AND l.lanname::pg_catalog.text = 'c'::pg_catalog.text
), hit AS MATERIALIZED (
  SELECT 1 AS one FROM w
  UNION ALL
  (SELECT 1 FROM f WHERE f.source ~* (
     '[[:<:]](set|reset|temp|temporary|listen|unlisten|prepare|deallocate|discard|hold|load|'
     'execute|set_config|setseed)[[:>:]]|pg_temp|pg_advisory_|pg_try_advisory_|pg_prepared_')::pg_catalog.text
   LIMIT 1)
), owner AS (
  SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid AS class, r.oid AS id,
         c.relname AS name
  FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  UNION ALL
  SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass::pg_catalog.oid, t.oid, c.relname
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  WHERE t.tgenabled <> 'D'::pg_catalog."char"
  UNION ALL
  SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass::pg_catalog.oid, o.oid, c.relname
  FROM pg_catalog.pg_policy o JOIN pg_catalog.pg_class c ON c.oid = o.polrelid
  UNION ALL
  SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid, a.oid, c.relname
  FROM pg_catalog.pg_attrdef a JOIN pg_catalog.pg_class c ON c.oid = a.adrelid
  UNION ALL
  SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, k.oid, c.relname
  FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  UNION ALL
  SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, k.oid, t.typname
  FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_type t ON t.oid = k.contypid
  UNION ALL
  SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.relname
  FROM pg_catalog.pg_class c
  WHERE c.relkind = 'r'::pg_catalog."char" OR c.relkind = 'p'::pg_catalog."char"
     OR c.relkind = 'f'::pg_catalog."char"
  UNION ALL
  SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, t.oid, t.typname
  FROM pg_catalog.pg_type t WHERE t.typtype = 'd'::pg_catalog."char"
  UNION ALL
  SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, p.oid, p.proname
  FROM pg_catalog.pg_proc p WHERE p.oid >= 16384::pg_catalog.oid
), used AS (
  SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid AS class, p.oid AS id,
         p.proname AS name
  FROM pg_catalog.pg_proc p WHERE p.oid >= 16384::pg_catalog.oid
  UNION ALL
  SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.relname
  FROM pg_catalog.pg_class c
  WHERE c.oid >= 16384::pg_catalog.oid
    AND (c.relkind = 'r'::pg_catalog."char" OR c.relkind = 'p'::pg_catalog."char"
         OR c.relkind = 'v'::pg_catalog."char" OR c.relkind = 'm'::pg_catalog."char"
         OR c.relkind = 'f'::pg_catalog."char")
  UNION ALL
  SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, t.oid, t.typname
  FROM pg_catalog.pg_type t
  WHERE t.oid >= 16384::pg_catalog.oid AND t.typtype = 'd'::pg_catalog."char"
), edge AS (
  SELECT o.name AS who, u.name AS uses
  FROM pg_catalog.pg_depend d
    JOIN used u ON u.class = d.refclassid AND u.id = d.refobjid
    JOIN owner o ON o.class = d.classid AND o.id = d.objid
  UNION ALL
  SELECT p.relname, c.relname
  FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
  WHERE c.relkind <> 'i'::pg_catalog."char"
  UNION ALL
  SELECT r.relname, c.relname
  FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  WHERE k.contype = 'f'::pg_catalog."char"
    AND ((k.confdeltype <> 'a'::pg_catalog."char" AND k.confdeltype <> 'r'::pg_catalog."char")
         OR (k.confupdtype <> 'a'::pg_catalog."char" AND k.confupdtype <> 'r'::pg_catalog."char"))
), line AS (
  SELECT CASE WHEN pg_catalog.length(f.source) > 60000 THEN 'x'
              WHEN f.is_sql THEN 'f' ELSE 'g' END AS kind,
         f.name AS name, pg_catalog.left(f.source, 60000) AS value
  FROM f WHERE EXISTS (SELECT 1 FROM hit)
  UNION ALL
  SELECT 'w', w.name, '' FROM w
  UNION ALL
  SELECT DISTINCT 'e', e.who::pg_catalog.text, e.uses::pg_catalog.text FROM edge e
  WHERE EXISTS (SELECT 1 FROM hit) AND e.who <> e.uses
  UNION ALL
  SELECT 'v', p.proname::pg_catalog.text, ''
  FROM pg_catalog.pg_event_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.evtfoid
  WHERE EXISTS (SELECT 1 FROM hit) AND t.evtenabled <> 'D'::pg_catalog."char"
  UNION ALL
  SELECT 'p', '', pg_catalog.left(pg_catalog.concat_ws(' ',
           pg_catalog.pg_get_expr(o.polqual, o.polrelid),
           pg_catalog.pg_get_expr(o.polwithcheck, o.polrelid)), 60000)
  FROM pg_catalog.pg_policy o WHERE EXISTS (SELECT 1 FROM hit)
)
SELECT kind,
  pg_catalog.encode(pg_catalog.convert_to(name, pg_catalog.getdatabaseencoding()), 'escape'),
  pg_catalog.encode(pg_catalog.convert_to(value, pg_catalog.getdatabaseencoding()), 'escape')
FROM line)sql";

}  // namespace

std::string_view survey_sql() noexcept {
    return survey;
}

}  // namespace sluice::pool

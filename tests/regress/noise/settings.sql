-- Settings that a test would stumble over, each in a transaction of its own; they must be there
-- later and nothing else may. A wrong value is an error whose text holds it.
\set mine random(1, 1000000)
set search_path to information_schema, pg_catalog;
set extra_float_digits = -3;
set datestyle = 'German, DMY';
set time zone 'Asia/Kolkata';
set enable_hashjoin = off;
set bytea_output = 'escape';
\sleep 4 ms
set noise.mine = :mine;
\sleep 4 ms
select cast('search_path is ' || current_setting('search_path') as int)
 where current_setting('search_path') <> 'information_schema, pg_catalog';
select cast('extra_float_digits is ' || current_setting('extra_float_digits') as int)
 where current_setting('extra_float_digits') <> '-3';
begin;
set local work_mem = '123kB';
select count(*) from pg_class where relname < 'pg_b';
commit;
\sleep 4 ms
select cast('noise.mine is ' || current_setting('noise.mine', true) as int)
 where current_setting('noise.mine', true) is distinct from cast(:mine as text);
select cast('datestyle is ' || current_setting('datestyle') as int)
 where current_setting('datestyle') <> 'German, DMY';
select cast('timezone is ' || current_setting('timezone') as int)
 where current_setting('timezone') <> 'Asia/Kolkata';
reset search_path;
reset extra_float_digits;
reset datestyle;
reset time zone;
reset enable_hashjoin;
reset bytea_output;
\sleep 4 ms
select cast('search_path is ' || current_setting('search_path') as int)
 where current_setting('search_path') <> '"$user", public';

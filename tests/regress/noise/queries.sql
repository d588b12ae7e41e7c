-- Short transactions that only move connections around.
\set mine random(1, 1000000)
select :mine;
\sleep 2 ms
begin;
select count(*) from pg_namespace;
select :mine + 1;
commit;
\sleep 2 ms

-- A temporary table over several transactions. Not while a test runs that watches what the whole
-- database creates and drops.
select count(*) = 0 as calm from pg_stat_activity
 where application_name in ('pg_regress/event_trigger', 'pg_regress/fast_default',
                            'pg_regress/maintain_every', 'pg_regress/sanity_check') \gset
\if :calm
\set mine random(1, 1000000)
create temporary table noise_table (mine int);
insert into noise_table values (:mine);
\sleep 4 ms
select cast('the table holds ' || coalesce(string_agg(cast(mine as text), ' '), 'nothing') as int)
  from noise_table having coalesce(min(mine) <> :mine or count(*) <> 1, true);
drop table noise_table;
-- The INSERT pins where anybody asks currval, and for good: nobody else would get a turn.
discard sequences;
\endif
\sleep 4 ms

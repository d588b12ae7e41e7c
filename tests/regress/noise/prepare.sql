-- A statement prepared in SQL under a name that every client uses, used in later transactions.
\set mine random(1, 1000000)
prepare noise_statement (int) as select cast('prepared by ' || :mine as text), $1;
\sleep 4 ms
execute noise_statement (1);
\sleep 4 ms
select cast('prepared is ' || coalesce(max(statement), 'nothing') as int)
  from pg_prepared_statements where name = 'noise_statement'
having count(*) filter (where position(cast(:mine as text) in statement) > 0) <> 1;
execute noise_statement (2);
deallocate noise_statement;
\sleep 4 ms
